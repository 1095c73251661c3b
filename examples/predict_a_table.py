"""
A table of your own, from the file to predictions
=================================================

A file with one row for each sample, and a column to predict: that is all you need. This tutorial reads such a file, searches
for a network, compares it with methods that are no network, saves it, and predicts from the file of the model.

It needs the extra ``tables``. The last section does the same without Python.
"""

# %%
# The file
# --------
# It is an ordinary one: semicolons, decimal commas, a column of words, and gaps. The numbers are made up, so that this page
# needs no download: how much of a substance has reacted, by catalyst, temperature, pressure and time.
import contextlib
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import loguniform

from models import load_model, read_table
from search import KFold, RandomSampler, Search

scratch = tempfile.TemporaryDirectory()
folder = Path(scratch.name)
rng = np.random.default_rng(0)
catalyst = rng.choice(["iron", "nickel"], 300)
temperature, pressure, minutes = rng.uniform(300, 420, 300), rng.uniform(1, 9, 300), rng.uniform(5, 60, 300)
rate = np.exp((temperature - 380) / 25 + 0.15 * pressure - np.where(catalyst == "iron", 4.2, 3.4))
frame = pd.DataFrame({"catalyst": catalyst, "temperature": temperature, "pressure": pressure, "minutes": minutes}).round(1)
frame["reacted"] = (100 * (1 - np.exp(-rate * minutes)) + rng.normal(0.0, 1.5, 300)).round(1)
frame.loc[::25, "pressure"] = np.nan
frame.to_csv(folder / "reaction.csv", sep=";", decimal=",", index=False)
print((folder / "reaction.csv").read_text()[:180])

# %%
# Reading
# -------
# ``read_table`` says in one line what it has read. It guesses what it can, and says what it has guessed.
table = read_table(folder / "reaction.csv", target="reacted")

# %%
# The search
# ----------
# ``table.builder()`` makes the network and its training for one configuration. What is learnt from data, such as the
# scaling of columns, the values in place of gaps and the categories, is learnt from the training rows of each fold. So no
# fold knows the rows that score it.
#
# ``scoring`` may be any name that scikit-learn knows. The ranking contains baselines on the same folds: the mean, a linear
# regression, and gradient boosting. If one of these is first, you do not need a network.
#
# Here the fits run in this process. A script of your own leaves out ``workers=1``, gives ``store="reaction.sqlite"``, and
# starts the search under ``if __name__ == "__main__":``.
candidates = RandomSampler(6, hidden=[(16,), (32, 16)], lr=loguniform(3e-3, 3e-2), epochs=[200])
search = Search(table.builder(), candidates, KFold(4, shuffle=True, seed=0), store=None, scoring="r2", workers=1)
result = search.run(table, progress=False)
print(result.ranking)

# %%
# A model in use
# --------------
# ``result.fit()`` fits the best configuration on all rows, as ``result.best`` does. The model takes a file, or a DataFrame
# with the same columns in any order. The interval holds the true value with a probability of 90 %: its width comes from the
# errors on rows that a fit has not seen.
model = result.fit(progress=False)
new = pd.DataFrame({"catalyst": ["iron", "nickel"], "minutes": 30.0, "temperature": 370.0, "pressure": [4.0, None]})
print(new.join(model.predict_interval(new, coverage=0.9)).assign(predicted=model.predict(new)).round(1))

# %%
# One file holds the weights, the columns, the scaling and the scores, and no code. It can be loaded in any process that has
# this project, without the builder.
model.save(folder / "reaction.safetensors")
loaded = load_model(folder / "reaction.safetensors")
print((loaded.predict(new) == model.predict(new)).all())

# %%
# What it has learnt, for a pressure of 4 and 30 minutes:
figure = Figure(figsize=(7.0, 3.5), layout="constrained")
axes = figure.add_subplot(xlabel="temperature", ylabel="reacted, in %", title="prediction, with intervals of 90 %")
for kind in ("iron", "nickel"):
    line = pd.DataFrame({"temperature": np.linspace(300, 420, 60), "catalyst": kind, "pressure": 4.0, "minutes": 30.0})
    interval = loaded.predict_interval(line, coverage=0.9)
    axes.plot(line["temperature"], loaded.predict(line), label=kind)
    axes.fill_between(line["temperature"], interval["lower"], interval["upper"], alpha=0.2)
axes.legend()

# %%
# Without Python
# --------------
# A TOML file says the same, and three commands do the rest. In a shell they are ``tinygrad-lab run reaction.sqlite
# reaction.toml`` and so on.
from search.command.main import main as tinygrad_lab

(folder / "reaction.toml").write_text("""
scoring = "r2"

[data]
train = "reaction.csv"
target = "reacted"

[grid]
hidden = [[16], [32, 16]]
lr = [0.01]
epochs = [200]

[folds]
n_splits = 4
""")
new.to_csv(folder / "new.csv", index=False)
with contextlib.chdir(folder):
    tinygrad_lab(["run", "reaction.sqlite", "reaction.toml", "--workers", "1", "--quiet"])
    tinygrad_lab(["predict", "reaction.sqlite", "new.csv", "--out", "predictions.csv", "--interval", "0.9"])
print((folder / "predictions.csv").read_text())
scratch.cleanup()
