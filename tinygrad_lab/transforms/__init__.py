"""Functions of functions: their derivatives, and how these are computed.

nests --> evaluation --> derivatives --> products --> backward      each imports only from modules to its left
"""
