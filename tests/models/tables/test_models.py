"""From a table to a model in use: what a builder makes, what is learnt from which rows, and predictions from other tables."""

import json
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest

import tinygrad_lab as tl
from models import TableError, TableWarning, load_model, read_table
from models.tables import CategoryEmbedding, Description

RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "size": RNG.normal(50.0, 9.0, 60),
        "color": RNG.choice(["blue", "green", "red"], 60),
        "when": pd.date_range("2020-01-01", periods=60, freq="9D"),
        "flag": RNG.choice([True, False], 60),
    }
)
FRAME["price"] = 1e4 + 100.0 * FRAME["size"] + 900.0 * (FRAME["color"] == "red")
FRAME["kind"] = np.where(FRAME["price"] > 15_200, "dear", "cheap")
FRAME.loc[3, "size"] = np.nan
FEATURES = ["size", "color", "when", "flag"]


def table_of(target="price", **options):
    return read_table(FRAME, target, features=[name for name in FEATURES if name != target], verbose=False, **options)


def trained(table, configuration=None, rows=slice(None), **defaults):
    defaults = {"hidden": (6,), "epochs": 3} | defaults
    trainer = table.builder(**defaults)(configuration or {}, np.random.default_rng(0))
    trainer.fit(table.x[rows], table.y[rows])
    return trainer


def model_of(target="price", **defaults):
    table = table_of(target)
    trainer = trained(table, **defaults)
    return table.model(tl.Predictor.from_trainer(trainer, classes=table.classes))


# ---- the builder -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("configuration", "found"),
    [
        ({}, lambda t: isinstance(t.optimizer, tl.Adam) and t.batch_size == 32 and t.shuffle and not t.callbacks),
        ({"hidden": (4, 3)}, lambda t: t.model.hidden2.weight.shape == (3, 4)),
        ({"epochs": 7, "lr": 0.5}, lambda t: t.epochs == 7 and t.optimizer.lr.item() == 0.5),
        ({"lr_final": 0.001, "decay": "cosine"}, lambda t: isinstance(t.scheduler, tl.CosineDecay)),
        ({"l1": 0.25}, lambda t: isinstance(t.penalty, tl.L1Penalty) and t.penalty.strength.item() == 0.25),
        ({"l1": 0.1, "weight_decay": 0.3}, lambda t: np.isclose(t.penalty.value([tl.Tensor([2.0])]).item(), 0.1 * 2 + 0.3 * 2)),
        ({"weight_decay": 0.3, "optimizer": "adamw"}, lambda t: t.optimizer.weight_decay.item() == 0.3),
        ({"dropout": 0.3}, lambda t: t.model[2].p.item() == 0.3),
        ({"embedding": 2}, lambda t: isinstance(t.model[0], CategoryEmbedding) and t.model[0].size == 2),
        ({"loss": "huber"}, lambda t: isinstance(t.loss, tl.Huber)),
        ({"patience": 5}, lambda t: t.callbacks[0].patience == 5 and t.validation_fraction == 0.1),
        ({"patience": 5, "validation_fraction": 0.3}, lambda t: t.validation_fraction == 0.3),
    ],
)
def test_every_hyper_parameter_has_its_effect(configuration, found):
    build = pickle.loads(pickle.dumps(table_of().builder()))
    assert found(build(configuration, np.random.default_rng(0)))


def test_the_loss_and_the_outputs_follow_from_the_task():
    assert isinstance(trained(table_of()).loss, tl.HalfSquaredError)
    for loss in (None, "cross_entropy"):
        assert isinstance(trained(table_of("kind"), {"loss": loss}).loss, tl.CrossEntropy)
    several = read_table(FRAME.assign(a=FRAME["flag"], b=~FRAME["flag"]), ["a", "b"], features=FEATURES[:3], verbose=False)
    trainer = trained(several)
    assert isinstance(trainer.loss, tl.BinaryCrossEntropy)
    assert trainer.predict(several.x).shape == (60, 2)


@pytest.mark.parametrize(
    ("target", "configuration", "message"),
    [
        ("price", {"hiden": 3}, "Table.builder: unknown name 'hiden', did you mean 'hidden'"),
        ("price", {"gamma": 3}, "Table.builder: unknown name 'gamma', expected hidden, activation"),
        ("price", {"optimizer": "nadam"}, "Table.builder: optimizer is 'nadam', expected sgd"),
        ("price", {"class_weight": {"dear": 1}}, "class_weight is {'dear': 1} for regression"),
        ("kind", {"class_weight": {"dear": 1, "chep": 2}}, "class_weight has dear, chep, expected the classes cheap, dear"),
        ("kind", {"loss": "huber"}, r"loss is 'huber' for classification, expected None, which is CrossEntropy\(\)"),
    ],
)
def test_wrong_hyper_parameters_are_refused(target, configuration, message):
    with pytest.raises(ValueError, match=message):
        table_of(target).builder()(configuration, np.random.default_rng(0))
    if "unknown" in message:
        with pytest.raises(ValueError, match=message):
            table_of(target).builder(**configuration)


def test_class_weights_are_given_by_label():
    weights = [trained(table_of("kind"), {"class_weight": x}).class_weight for x in ({"dear": 3, "cheap": 1.5}, "balanced")]
    assert weights == [(1.5, 3.0), "balanced"]


def test_a_network_learns_nothing_from_rows_that_do_not_train():
    table, other = table_of(), table_of()
    held_out = np.arange(60) % 4 == 0
    other.x[held_out], other.y[held_out] = other.x[::-1][held_out] * 1e3, -1e9
    one, two = (trained(t, rows=~held_out).network.state_dict() for t in (table, other))
    assert all((one[name] == two[name]).all() for name in one)


def test_trainers_of_a_table_train_side_by_side_to_the_same_bits():
    table = table_of()
    build = table.builder(hidden=(6,), epochs=3)
    lanes = [build({"lr": lr}, np.random.default_rng(0)) for lr in (0.01, 0.02)]
    tl.fit_lanes(lanes, [(table.x, table.y)] * 2)
    np.testing.assert_array_equal(lanes[0].predict(table.x), trained(table, {"lr": 0.01}).predict(table.x))


# ---- models in use ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "options"), [("price", {"embedding": 2, "dropout": 0.1}), ("kind", {}), ("price", {"hidden": ()})]
)
def test_a_saved_model_predicts_the_same(tmp_path, target, options):
    model = model_of(target, **options)
    model.save(tmp_path / "model.safetensors", details={"author": "me"})
    loaded = load_model(tmp_path / "model.safetensors")
    FRAME.to_csv(tmp_path / "frame.csv", index=False)
    prediction = model.predict(FRAME)
    pd.testing.assert_series_equal(loaded.predict(FRAME), prediction)
    assert loaded.predict(tmp_path / "frame.csv").tolist() == prediction.tolist()
    assert loaded.predict(table_of(target).x).tolist() == prediction.tolist()
    assert (prediction.name, loaded.predictor.details["author"], loaded.description) == (target, "me", model.description)
    assert repr(loaded) == f"TableModel({target} from 4 columns, {model.description.task})"
    assert model.predictor.details == {}


def test_classes_have_probabilities_by_name():
    model = model_of("kind", epochs=30)
    probability = model.predict_proba(FRAME)
    assert list(probability) == ["cheap", "dear"]
    assert (probability.idxmax(axis=1) == model.predict(FRAME)).all()
    assert (model.predict(FRAME) == FRAME["kind"]).mean() > 0.8


def test_intervals_and_sets_are_those_of_the_predictor():
    for target in ("price", "kind"):
        table, model = table_of(target), model_of(target)
        folds = [np.arange(0, 60, 2), np.arange(1, 60, 2)]
        networks = [[trained(table, rows=np.setdiff1d(np.arange(60), rows)).network] for rows in folds]
        labels = table.y if target == "price" else np.array(table.classes)[table.y]
        model.predictor.calibrate(networks, folds, table.x, labels)
        if target == "price":
            lower, upper = model.predictor.predict_interval(table.x, coverage=0.8)
            found = model.predict_interval(FRAME, coverage=0.8)
            np.testing.assert_array_equal(found[["lower", "upper"]], np.column_stack([lower, upper]))
            np.testing.assert_array_equal(model.predict_interval(table.x, coverage=0.8)[1], upper)
        else:
            sets = model.predict_set(FRAME, coverage=0.8)
            assert list(sets) == ["cheap", "dear"]
            np.testing.assert_array_equal(sets, model.predictor.predict_set(table.x, coverage=0.8))


def test_columns_are_matched_by_name_and_differences_reported():
    model = model_of()
    expected = model.predict(FRAME).tolist()
    assert model.predict(FRAME[FEATURES[::-1]]).tolist() == expected
    unlike = FRAME.assign(extra=1)
    unlike.loc[0, "color"] = "pink"
    unlike.loc[1, "color"] = None
    with pytest.warns(TableWarning) as caught:
        prediction = model.predict(unlike)
    assert [str(warning.message) for warning in caught] == [
        "frame: additional columns are not used: extra",
        "frame, column 'color': 1 cell with categories that were never seen ('pink'); they count as none of the known",
        "frame, column 'color': 1 missing value where there were none before; no category takes their place",
    ]
    assert caught[0].filename == __file__
    assert np.isfinite(prediction).all()
    assert prediction.tolist()[2:] == expected[2:]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (FRAME.rename(columns={"color": "Colour"}), "frame: column 'color' is missing, did you mean 'Colour'"),
        (FRAME[["when", "flag"]], r"frame: 2 columns \(size, color\) are missing; the columns are when, flag"),
        (FRAME.assign(size="tall"), "frame, row 0, column 'size': 'tall' is not a number"),
        (FRAME.assign(when=3), "frame, row 0, column 'when': '3' is not a date"),
        (np.array([[50.0, 3.0, 0.0, 1.0]]), "x, row 0, column 'color': 3 is no code of its 3 categories, expected 0 to 2"),
        (np.zeros((2, 3)), r"x has shape \(2, 3\) of float64, expected \(rows, 4\) numbers \(size, color, when, flag\)"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(frame, message):
    with pytest.raises(TableError, match=message):
        model_of(hidden=()).predict(frame)


def test_a_predictor_without_the_labels_of_the_table_is_refused():
    table = table_of("kind")
    with pytest.raises(TableError, match="has the classes 0, 1, and the table cheap, dear; give it classes = table.classes"):
        table.model(tl.Predictor.from_trainer(trained(table)))
    flags = table_of("flag")  # 0 == False
    with pytest.raises(TableError, match="has the classes 0, 1, and the table False, True"):
        flags.model(tl.Predictor.from_trainer(trained(flags)))
    with pytest.raises(TableError, match="the predictor is for regression, and the table for classification"):
        table.model(model_of().predictor)


@pytest.mark.parametrize("flags", [FRAME["flag"].astype(float), FRAME["flag"].astype(int), FRAME["flag"].astype(str)])
def test_booleans_may_be_written_as_0_and_1(flags):
    np.testing.assert_array_equal(table_of().matrix(FRAME.assign(flag=flags)), table_of().x)
    assert table_of("flag").like(FRAME.assign(flag=flags)).y.tolist() == FRAME["flag"].tolist()


def test_a_test_set_is_read_like_the_training_set(tmp_path):
    table = table_of("kind")
    test = table.like(FRAME[5:25])
    assert test.index.tolist() == [*range(5, 25)]
    named = FRAME.assign(id=[f"r{i}" for i in range(len(FRAME))])
    assert read_table(named, "kind", index="id", verbose=False).like(named[5:7]).index.tolist() == ["r5", "r6"]
    np.testing.assert_array_equal(test.x, table.x[5:25])
    np.testing.assert_array_equal(test.y, table.y[5:25])
    np.testing.assert_array_equal(table.matrix(FRAME[5:25]), table.x[5:25])
    with pytest.raises(
        TableError, match="frame, row 5, column 'kind': the class 'free' is not known; the classes are cheap, dear"
    ):
        table.like(FRAME[5:9].assign(kind="free"))
    with pytest.raises(TableError, match="frame: no column 'kind', did you mean 'kinds'"):
        table.like(FRAME.rename(columns={"kind": "kinds"}))


def test_another_file_is_read_as_the_first_unless_it_contradicts(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a;b;y\n1,5;-;1\n2,5;7;3\n1.000,5;8;4\n")
    table = read_table(path, "y", na_values="-", verbose=False)
    path.write_text("a;b\n1,234;-\n")  # by itself a thousand or a little more than one
    np.testing.assert_array_equal(table.matrix(path), [[1.234, np.nan]])
    for number in (1.25, 1.234):
        path.write_text(f"a,b\n{number},3\n")
        with pytest.warns(TableWarning, match="numbers have a decimal point, and those of the training table a decimal comma"):
            np.testing.assert_array_equal(table.matrix(path), [[number, 3]])
    path.write_text('a,b\n"1,234",3\n')
    np.testing.assert_array_equal(table.matrix(path), [[1.234, 3]])
    path.write_text("a,b\n1,3\n")
    np.testing.assert_array_equal(table.matrix(path), [[1, 3]])
    path.write_text("a,b\n1,x\n")
    with pytest.raises(TableError, match="t.csv, line 2, column 'b': 'x' is not a number"):
        table.matrix(path)


def test_columns_without_names_are_matched_by_position(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("1,2,0.5\n3,4,1\n5,7,9\n")
    table = read_table(path, -1, verbose=False)
    path.write_text("1,0\n3,2\n")
    np.testing.assert_array_equal(table.matrix(path), [[1, 0], [3, 2]])
    path.write_text("0,1\n3,2\n")  # the first row has the names of the columns, or numbers
    with pytest.raises(TableError, match=r"t.csv, line 1: is it a header\? it counts the columns from 0"):
        table.matrix(path)
    np.testing.assert_array_equal(table.matrix(path, header=False), [[0, 1], [3, 2]])


def test_a_missing_value_alone_in_its_row_stays_a_row(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,y\n1,2\n3,4\n5,5\n")
    table = read_table(path, "y", verbose=False)
    path.write_text('a\n1\n""\n3\n')  # as pandas writes it
    with pytest.warns(TableWarning, match="1 missing value"):
        np.testing.assert_array_equal(table.matrix(path), [[1], [np.nan], [3]])
    path.write_text("a\n1\n\n3\n")
    with pytest.raises(TableError, match=r"t.csv, line 3: is blank, in a table of one column; write NA for"):
        table.matrix(path)
    path.write_text("\na\n1\n# b\n3\n\n")
    np.testing.assert_array_equal(table.matrix(path, comment="#"), [[1], [3]])


def test_a_description_is_json():
    description = table_of("kind").description
    text = json.dumps(description.to_json())
    assert Description.from_json(json.loads(text)) == description
    without_kind, other_sign, empty = (json.loads(text) for _ in range(3))
    del without_kind["columns"][0]["kind"]
    other_sign["number_format"]["decimal"] = 5
    empty["columns"] = []
    for broken in (without_kind, other_sign, empty):
        with pytest.raises(ValueError, match="the description of the columns is damaged or of another version"):
            Description.from_json(broken)


def test_nothing_is_reported_of_a_table_that_fits():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model_of().predict(FRAME)
