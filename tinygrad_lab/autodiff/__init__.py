"""What is computed, and how it is differentiated.

ops --> graph --> recording --> functions --> methods --> tensor --> derivatives      each imports only from modules to its left
"""
