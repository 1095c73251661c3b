"""One task on a table of one's own, written with each library by its usual means; `lines_of_code.py` counts and runs them.

Read a CSV file with a text column and gaps; try twenty networks on four folds, with what is learnt from data learnt inside
each fold; keep finished fits if the process dies; rank beside the mean, a linear model and boosted trees on the same folds;
refit the best; predict new rows with 90 % intervals in another process.
"""
