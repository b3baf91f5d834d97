"""Which run stands for a published value, and which runs are left: the files of prototxt/, and small ones."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import small_study

from sdcaffe import Solver, proto
from sdcaffe.errors import DataError
from sdcaffe.layers import discover
from sdcaffe.log import setup
from sdcaffe.paper import published
from sdcaffe.paper.compare import read_runs
from sdcaffe.paper.recipes import RECIPES
from sdcaffe.paper.reproduce import Job, jobs, mark_done, prices
from sdcaffe.paper.reproduce.counts import counted
from sdcaffe.paper.reproduce.jobs import planned, recipe_of
from sdcaffe.tools import zoo

ROOT = Path(__file__).parents[2]
KNOWN = published.load()

discover()


@pytest.fixture
def at_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("value", KNOWN, ids=lambda value: f"{value.table} {value.network} {value.mechanism}")
def test_the_recipe_of_a_published_value_is_recognised_as_it(value, at_root):
    """By the same reading that recognises a log, which knows nothing of file names."""
    recipe = recipe_of(value)
    run = planned(proto.read_solver(recipe.solver_file), proto.read_net(recipe.net_file), KNOWN)
    assert (run.reason, run.departures) == ("", [])
    assert run.recipe is recipe
    assert value.matches(run.network, run.data_set, run.mechanism, run.peer, run.mu)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.solver_file)
def test_every_recipe_is_recognised_as_itself(recipe, at_root):
    param = proto.read_solver(recipe.solver_file)
    run = planned(param, proto.read_net(recipe.net_file), KNOWN)
    assert run.recipe is recipe
    assert run.departures == []
    known, read = Job(recipe, param, KNOWN), Job(recipe, param, KNOWN)
    assert known.as_written, "run `make prototxt`"
    read.multiply_adds, read.run = None, run
    assert not read.as_written
    assert (known.title, known.databases) == (read.title, read.databases)


@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param(recipe, marks=[] if recipe.folder in ("study2", "cifar100/resnet32") else pytest.mark.slow)
        for recipe in {recipe.net_file: recipe for recipe in RECIPES}.values()
    ],
    ids=lambda recipe: recipe.net_file,
)
def test_the_table_of_multiply_adds_says_what_the_net_does(recipe, at_root):
    param, net = proto.read_solver(recipe.solver_file), proto.read_net(recipe.net_file)
    assert Job(recipe, param, KNOWN).multiply_adds == counted(net, param.train_state, recipe.images)


def test_the_table_does_not_speak_of_a_net_that_was_edited(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    zoo.write("imagenet/alexnet", tmp_path)
    recipe = next(recipe for recipe in RECIPES if recipe.folder == "imagenet/alexnet")
    param = proto.read_solver(recipe.solver_file)
    job = Job(recipe, param, KNOWN)
    assert (job.as_written, job.databases) == (True, ["data/ilsvrc12_train_lmdb"])
    net = Path(recipe.net_file)
    net.write_text(
        net.read_text().replace("data/ilsvrc12_train_lmdb", "data/mine").replace("num_output: 4096", "num_output: 409")
    )
    job = Job(recipe, param, KNOWN)
    assert (job.as_written, job.databases) == (False, ["data/mine"])
    took = prices([job], "cpu")[param.net]
    assert took.problem == "there is no LMDB data/mine here"


def test_a_solver_of_another_stage_is_read(at_root):
    recipe = next(recipe for recipe in RECIPES if recipe.mechanism.file == "mu_0.01")
    param = proto.read_solver(recipe.solver_file)
    param.train_state.stage[:] = ["mu_0.001"]
    job = Job(recipe, param, KNOWN)
    assert not job.as_written
    assert job.title.endswith("mu 0.001")


def test_a_log_has_the_settings_that_were_planned(tmp_path, monkeypatch):
    """So that a finished log is found again: the solver's text and the nets' are those that training logs."""
    monkeypatch.chdir(tmp_path)
    small_study.write(tmp_path, "study", "baseline")
    param = proto.read_solver("prototxt/study/solver_baseline.prototxt")
    with setup("a.log"):
        solver = Solver(param)
        solver.solve()
        solver.close()
    (logged,) = read_runs(["a.log"], KNOWN)
    run = planned(param, proto.read_net(param.net), KNOWN)
    assert logged.settings == {**run.settings, "device": "CPU"}
    assert len(run.settings) > 10
    assert logged.seed == run.seed == 1


def test_a_table_is_its_rows_for_every_seed(at_root):
    found = jobs(["6"], [], 3, KNOWN)
    files = [f"prototxt/cifar100/{net}/solver_{name}.prototxt" for net in ("resnet32", "wrn16_8")
             for name in small_study.TABLE_6]  # fmt: skip
    assert sorted((str(job.file), job.seed) for job in found) == sorted(itertools.product(files, (1, 2, 3)))
    assert {job.param.random_seed for job in found} == {1, 2, 3}
    assert len({job.log for job in found}) == len(found)
    assert found[0].log == Path("reference_logs/runs/cifar100/resnet32/baseline_seed1.log")


def test_a_run_that_is_in_several_tables_is_one(at_root):
    (job,) = [job for job in jobs([], ["ResNet-32"], 1, KNOWN) if "cifar100/resnet32/solver_self" in str(job.file)]
    assert job.tables == ["1", "2", "3", "5", "6"]


@pytest.mark.parametrize("net", ["wrn16_8", "WRN-16-8", "wrn-16-8"])
def test_a_network_is_named_as_its_folder_or_as_the_paper_does(net, at_root):
    assert {job.file.parent.name for job in jobs(["6"], [net], 1, KNOWN)} == {"wrn16_8"}


def test_a_network_that_is_not_there(at_root):
    with pytest.raises(DataError, match='a network "resnet23"; did you mean "resnet32"'):
        jobs(["6"], ["resnet23"], 1, KNOWN)
    with pytest.raises(DataError, match='a network "alexnet"; there are resnet32, wrn16_8'):
        jobs(["6"], ["alexnet"], 1, KNOWN)


def test_elsewhere_than_in_a_clone_the_networks_are_written_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = jobs(["6"], ["wrn16_8"], 1, KNOWN)
    assert {job.file.parent for job in found} == {Path("prototxt/cifar100/wrn16_8")}
    written = {path.name: path.read_bytes() for path in Path("prototxt/cifar100/wrn16_8").iterdir()}
    assert written == {path.name: path.read_bytes() for path in (ROOT / "prototxt/cifar100/wrn16_8").iterdir()}
    assert [path.name for path in Path("prototxt/cifar100").iterdir()] == ["wrn16_8"]


def test_a_teacher_comes_with_its_pupil_once_for_all_seeds(at_root):
    found = jobs(["1"], ["resnet32"], 2, KNOWN)
    (teacher,) = [job for job in found if "wrn28_10/solver_baseline" in str(job.file)]
    pupils = [job for job in found if "teacher" in job.file.name]
    assert [job.seed for job in pupils] == [1, 2]
    for job in pupils:
        assert job.teacher is teacher
        assert list(job.param.weights) == ["runs/cifar100/wrn28_10/baseline_seed1_iter_78125.caffemodel"]
        assert Path(job.param.weights[0]) == teacher.weights
        assert not job.ready
    mark_done(found, [])
    assert teacher.taught
    assert not teacher.done


def test_a_teacher_that_nobody_needs_is_not_trained(at_root, tmp_path, monkeypatch):
    found = jobs(["1"], ["resnet32"], 1, KNOWN)
    (pupil,) = [job for job in found if job.teacher]
    monkeypatch.chdir(tmp_path)
    pupil.teacher.weights.parent.mkdir(parents=True)
    pupil.teacher.weights.touch()
    mark_done(found, [])
    assert (pupil.ready, pupil.done, pupil.teacher.done) == (True, False, True)
