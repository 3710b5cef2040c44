"""What is public: names, docstrings, arguments, errors."""

import inspect
import types

import torch

import gibbsite as gb
from gibbsite import testing

MANY_ARGUMENTS = {
    "fit": 14,  # rbm, data, and one for each slot of the loop
    "BernoulliRBM": 20,  # hyperparameters, which scikit-learn wants flat in the constructor
    "GaussianRBM": 22,
    "RBMClassifier": 15,
    "Dataset": 9,  # a record, which readers get and seldom make
    "Diagnosis": 8,
    "HeldOut": 9,
    "sample": 8,
    "evaluate": 8,
    "conditional_log_likelihood": 8,
    "log_partition": 8,
}
MOST_ARGUMENTS = 7

PACKAGES = [gb, gb.exact, gb.datasets, gb.layers, gb.sampling, gb.gradients, gb.likelihood]
PACKAGES += [gb.training, testing]


def public(package: types.ModuleType) -> dict[str, object]:
    """Names in __all__, or the functions and classes that a module defines itself."""
    if hasattr(package, "__all__"):
        return {name: getattr(package, name) for name in package.__all__}
    return {
        name: value
        for name, value in vars(package).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == package.__name__
    }


PUBLIC = {
    f"{package.__name__}.{name}": value
    for package in PACKAGES
    for name, value in public(package).items()
}
FUNCTIONS = {name: value for name, value in PUBLIC.items() if callable(value)}


def has_options(value: object) -> bool:
    """Whether it is called with options: errors and protocols are not."""
    exempt = inspect.isclass(value) and issubclass(value, Exception)
    return callable(value) and not exempt and not getattr(value, "_is_protocol", False)


def test_public_names_exist_once():
    for package in PACKAGES:
        names = list(getattr(package, "__all__", []))
        assert all(hasattr(package, name) for name in names)
        assert len(set(names)) == len(names)


def own_docstring(value: object) -> str:
    """Its docstring, unless it is one that dataclass wrote or a base class left."""
    text = vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__
    generated = inspect.isclass(value) and (text or "").startswith(f"{value.__name__}(")
    return "" if generated else text or ""


def test_public_things_have_a_docstring():
    assert all(package.__doc__ for package in PACKAGES)
    texts = {name: own_docstring(value).strip() for name, value in FUNCTIONS.items()}
    assert [name for name, text in texts.items() if len(text.split()) < 3] == []
    first = {name: text.splitlines()[0].rstrip() for name, text in texts.items()}
    assert [line for line in first.values() if not line.endswith((".", ":", "`", ","))] == []


CLASSES = {name: value for name, value in PUBLIC.items() if inspect.isclass(value)}
METHODS = {
    f"{name}.{method}": value
    for name, cls in CLASSES.items()
    for method, value in vars(cls).items()
    if inspect.isfunction(value) and not method.startswith("_")
}


CALLED = {
    name: value
    for name, value in (FUNCTIONS | METHODS).items()
    if has_options(value) and not hasattr(value, "_fields")  # results are returned, not built
}


def arguments(name: str) -> list[inspect.Parameter]:
    given = inspect.signature(CALLED[name]).parameters.values()
    return [argument for argument in given if argument.name != "self"]


def test_at_most_seven_arguments():
    counts = {name: len(arguments(name)) for name in CALLED}
    allowed = {name: MANY_ARGUMENTS.get(name.split(".")[-1], MOST_ARGUMENTS) for name in CALLED}
    assert {name: n for name, n in counts.items() if n > allowed[name]} == {}


def test_nothing_swallows_misspelt_options():
    swallow = inspect.Parameter.VAR_KEYWORD
    assert [name for name in CALLED if any(a.kind == swallow for a in arguments(name))] == []


def test_the_model_has_at_most_a_dozen_closed_forms():
    """Public methods of the model: conditionals, energies and phases, nothing with time or data."""
    methods = [name for name, value in vars(gb.RBM).items() if inspect.isfunction(value)]
    assert len([name for name in methods if not name.startswith("_")]) <= 14


ERRORS = [value for value in vars(gb).values() if inspect.isclass(value)]
ERRORS = [value for value in ERRORS if issubclass(value, Exception)]


def test_every_error_is_a_gibbsite_error_and_public():
    assert [error for error in ERRORS if not issubclass(error, gb.GibbsiteError)] == []
    assert {error.__name__ for error in ERRORS} <= set(gb.__all__)


def test_bad_values_are_value_errors_too():
    for error in (gb.ArgumentError, gb.DataError, gb.TooLargeError, gb.ModelFileError):
        assert issubclass(error, ValueError)
    assert issubclass(gb.OutputError, OSError)
    assert issubclass(gb.DivergenceError, ArithmeticError)


def test_importing_changes_no_global_setting():
    """The default dtype and the global generator are the user's."""
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()
