"""What is computed, and how it is differentiated.

nests --> ops --> graph --> recording --> functions --> methods --> tensor --> derivatives --> operators

Each imports only from modules to its left.
"""
