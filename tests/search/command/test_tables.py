"""Tables with names, categories and gaps, from a TOML file to predictions."""

import csv
import math
from pathlib import Path

import pytest

from search.command.main import main
from search.command.settings import own_models

HEADER = "size,color,price,class"
NEW = "color,note,size\nred,a,2.5\ngreen,b,3\nblue,c,\n"


def rows(n, shift=0.0):
    for i in range(n):
        size = 1.0 + (7 * i) % 20 / 4.0 + shift
        color = "red" if i % 2 else "blue"
        yield f"{size},{color},{3 * size + 5 * (color == 'red')},{'big' if size > 3 else 'small'}"


def toml(target, drop, extra=""):
    return f"""\
seed = 1
workers = 1
baselines = false
{extra}
[data]
train = "train.csv"
test = "test.csv"
target = "{target}"
drop = "{drop}"
[grid]
hidden = [[3], [4]]
epochs = [5]
[folds]
n_splits = 2
"""


@pytest.fixture
def folder(tmp_path, monkeypatch, capsys):
    (tmp_path / "train.csv").write_text("\n".join([HEADER, *rows(24)]))
    (tmp_path / "test.csv").write_text("\n".join([HEADER, *rows(6, 0.125)]))
    (tmp_path / "new.csv").write_text(NEW)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(path):
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def failure(capsys, *arguments):
    capsys.readouterr()
    assert main(list(arguments)) == 1
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    return errors


def test_a_regression_from_the_file_to_predictions(folder, capsys):
    Path("s.toml").write_text(toml("price", "class", 'scoring = ["r2", "neg_max_error"]'))
    assert main(["run", "s.sqlite", "s.toml", "--quiet"]) == 0
    output = capsys.readouterr().out
    assert output.startswith("24 samples, 2 features (1 number, 1 category with 2 levels), y = price (regression)\n")
    assert "ranked by r2" in output
    assert main(["status", "s.sqlite"]) == 0
    assert "best so far: r2 " in capsys.readouterr().out
    assert main(["export", "s.sqlite", "fits.csv"]) == 0
    assert {"r2", "neg_max_error", "validation_loss"} < read("fits.csv")[0].keys()
    assert main(["retrain", "s.sqlite", "--quiet"]) == 0

    capsys.readouterr()
    assert main(["predict", "s.sqlite", "new.csv", "--out", "p.csv", "--interval", "0.8", "--quiet"]) == 0
    output, errors = capsys.readouterr()
    assert output == "3 predictions are in p.csv\n"
    notes = errors.splitlines()
    assert len(notes) == 3
    assert all(line.startswith("python -m search: new.csv") for line in notes)
    assert "note" in notes[0]
    assert "'green'" in errors
    predictions = read("p.csv")
    assert list(predictions[0]) == ["price", "price lower", "price upper"]
    assert all(float(row["price lower"]) < float(row["price upper"]) for row in predictions)

    assert main(["save", "s.sqlite", "m.safetensors", "--quiet"]) == 0
    assert main(["predict", "m.safetensors", "new.csv", "--out", "q.csv", "--interval", "0.8"]) == 0
    assert Path("q.csv").read_bytes() == Path("p.csv").read_bytes()

    for file, what in (("new.csv", "the table"), ("m.safetensors", "the model or store")):
        assert f"{file} is {what} itself" in failure(capsys, "predict", "m.safetensors", "new.csv", "--out", file)
    Path("bad.csv").write_text("colour,size\nred,1\n")
    for source in ("s.sqlite", "m.safetensors"):
        assert "color" in failure(capsys, "predict", source, "bad.csv", "--out", "r.csv", "--quiet")
    assert "predicts numbers" in failure(capsys, "predict", source, "new.csv", "--out", "r.csv", "--proba")
    assert not Path("r.csv").exists()


def test_predictions_have_the_index_of_their_table(folder, capsys):
    train = [f"{head},{line}" for head, line in zip(["id", *(f"r{i}" for i in range(24))], [HEADER, *rows(24)], strict=True)]
    Path("train.csv").write_text("\n".join(train))
    Path("s.toml").write_text(toml("price", "class").replace("[grid]", 'index = "id"\n[grid]').replace('test = "test.csv"', ""))
    Path("new.csv").write_text("id,code,size,color\nx,007,2,red\n,8,3,blue\n")
    assert main(["run", "s.sqlite", "s.toml", "--quiet"]) == 0
    assert main(["save", "s.sqlite", "m", "--quiet"]) == 0
    for source in ("s.sqlite", "m"):
        assert main(["predict", source, "new.csv", "--out", "p.csv", "--quiet"]) == 0
        assert [(row["id"], [*row]) for row in read("p.csv")] == [("x", ["id", "price"]), ("", ["id", "price"])]
    capsys.readouterr()
    assert main(["predict", "m", "new.csv", "--out", "p.csv", "--index", "code", "--index", "id"]) == 0
    assert capsys.readouterr().err == ""
    assert [[row["code"], row["id"]] for row in read("p.csv")] == [["007", "x"], ["8", ""]]
    Path("nameless.csv").write_text("size,color,price\n2,red,1\n")
    assert main(["predict", "m", "nameless.csv", "--out", "p.csv"]) == 0
    assert "no column 'id', the index of the training table" in capsys.readouterr().err
    assert [*read("p.csv")[0]] == ["price"]
    assert "no column 'kode', did you mean 'code'?" in failure(
        capsys, "predict", "m", "new.csv", "--out", "p", "--index", "kode"
    )
    failed = failure(capsys, "predict", "m", "nameless.csv", "--out", "p", "--index", "price")
    assert "column 'price' is the target and the index" in failed


def test_an_interval_is_refused_if_no_fold_held_out_some_rows(folder, capsys):
    Path("s.toml").write_text(toml("price", "class").replace("n_splits", 'kind = "time"\nn_splits'))
    assert main(["run", "s.sqlite", "s.toml", "--quiet"]) == 0
    assert main(["save", "s.sqlite", "m", "--quiet"]) == 0
    for source in ("s.sqlite", "m"):
        error = failure(capsys, "predict", source, "test.csv", "--out", "p.csv", "--quiet", "--interval", "0.9")
        assert "--interval: no fold held out each row once" in error


def test_a_classification_has_labels_and_probabilities(folder, capsys):
    Path("s.toml").write_text(toml("class", "price", 'scoring = "accuracy"'))
    assert main(["run", "s.sqlite", "s.toml", "--quiet"]) == 0
    assert main(["predict", "s.sqlite", "new.csv", "--out", "p.csv", "--proba", "--interval", "0.8", "--quiet"]) == 0
    for row in read("p.csv"):
        assert row["class"] in ("big", "small")
        assert math.isclose(float(row["P(big)"]) + float(row["P(small)"]), 1.0)
        assert {*row["one of, at 80%"].split(" | ")} <= {"big", "small", ""}
    capsys.readouterr()
    assert main(["retrain", "s.sqlite", "--quiet"]) == 0
    assert "test accuracy" in capsys.readouterr().out


def test_plain_numbers_have_predictions_too(folder, capsys, monkeypatch):
    Path("train.csv").write_text("".join(f"{i},{i % 3},{i + i % 3}\n" for i in range(12)))
    Path("s.toml").write_text('workers = 1\n[data]\ntrain = "train.csv"\n[grid]\nepochs = [1]\nhidden = [[40], [2]]\n')
    assert main(["run", "s.sqlite", "s.toml", "--quiet"]) == 0
    Path("new.csv").write_text("1,2\n3,4\n")
    assert main(["predict", "s.sqlite", "new.csv", "--out", "p.csv", "--quiet"]) == 0
    Path("again.csv").write_text("1,2,3\n3,4,7\n")
    assert main(["predict", "s.sqlite", "again.csv", "--out", "q.csv", "--quiet"]) == 0
    assert "again.csv: the last column is y" in capsys.readouterr().err
    assert Path("p.csv").read_bytes() == Path("q.csv").read_bytes()
    assert [*read("p.csv")[0]] == ["prediction"]
    assert main(["save", "s.sqlite", "m", "--quiet"]) == 0
    for name in ("new.csv", "again.csv"):
        assert main(["predict", "m", name, "--out", "r.csv"]) == 0
        assert Path("p.csv").read_bytes() == Path("r.csv").read_bytes()
    monkeypatch.setattr("search.result.SearchResult.simplest_configuration", lambda result, complexity: result.ranking[1])
    assert main(["save", "s.sqlite", "simple", "--simplest", "--quiet"]) == 0
    chosen = [own_models().load_model(name).details["configuration"]["hidden"] for name in ("m", "simple")]
    assert sorted(chosen) == [[2], [40]]
    Path("wide.csv").write_text("1,2,3,4\n")
    for source in ("s.sqlite", "m"):
        assert "wide.csv has 4 columns, expected the 2 of x" in failure(capsys, "predict", source, "wide.csv", "--out", "o.csv")
        assert "--index: " in failure(capsys, "predict", source, "new.csv", "--out", "o.csv", "--index", "a")


def test_a_target_that_the_table_does_not_have_is_told_before_the_search(folder, capsys):
    Path("s.toml").write_text(toml("prise", "class"))
    errors = failure(capsys, "run", "s.sqlite", "s.toml")
    assert "data.train: " in errors
    assert "no column 'prise', did you mean 'price'?" in errors
    assert not Path("s.sqlite").exists()


def test_a_faulty_test_table_is_told_before_the_search(folder, capsys):
    Path("test.csv").write_text("size,color,class\n1,red,big\n")
    Path("s.toml").write_text(toml("price", "class"))
    assert "data.test: " in failure(capsys, "run", "s.sqlite", "s.toml")
    assert not Path("s.sqlite").exists()


def test_files_side_by_side_are_one_table(folder, capsys):
    Path("left.txt").write_text("a b\n" + "".join(f"{i} {i % 3}\n" for i in range(12)))
    Path("right.txt").write_text("y z\n" + "".join(f"{2 * i} {i % 4}\n" for i in range(12)))
    settings = toml("y", "b").replace('train = "train.csv"\ntest = "test.csv"', 'train = ["left.txt", "right.txt"]')
    Path("s.toml").write_text(settings.replace('target = "y"', 'target = ["y", "z"]'))
    assert main(["run", "s.sqlite", "s.toml", "--quiet"]) == 0
    assert capsys.readouterr().out.startswith("12 samples, 1 feature (1 number), y = y, z (regression)\n")
    Path("s.toml").write_text(settings.replace('"right.txt"', "3"))
    assert "data.train = ['left.txt', 3], expected the name of a file" in failure(capsys, "run", "t.sqlite", "s.toml")


def test_new_rows_are_read_as_the_training_table_was(folder, capsys):
    lines = [f"{i % 7},{(5 * i) % 11},{i % 2}" for i in range(24)]
    Path("train.csv").write_text("\n".join(["24,2,no,yes", *lines]))  # counts and names of classes, no header
    data = 'train = "train.csv"\ntarget = -1\nheader = false\nskip = 1\ntask = "classification"'
    Path("s.toml").write_text(f"workers = 1\nbaselines = false\n[data]\n{data}\n[grid]\nhidden = [[3]]\nepochs = [5]\n")
    assert main(["run", "s.sqlite", "s.toml", "--quiet"]) == 0
    assert main(["predict", "s.sqlite", "train.csv", "--out", "p.csv", "--quiet"]) == 0
    assert len(read("p.csv")) == 24
    assert main(["save", "s.sqlite", "m.safetensors", "--quiet"]) == 0
    Path("new.csv").write_text("\n".join(lines[:3]))
    assert main(["predict", "m.safetensors", "new.csv", "--no-header", "--out", "q.csv"]) == 0
    assert [row["2"] for row in read("q.csv")] == [row["2"] for row in read("p.csv")][:3]
