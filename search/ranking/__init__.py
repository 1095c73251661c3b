"""The results of a search: the ranking, and how far it can be trusted.

ranking --> comparison, nested, optimism      each imports only from those before it
"""
