"""What to try: configurations, and the strategies that propose them.

configuration --> rounds --> grid --> union --> random, halving, optuna      each imports only from those before it
"""
