"""The shape of the source: who may import whom, what no module may do, what is public."""

import ast
import inspect
import types
from collections.abc import Container, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
import torch

import gibbsite as gb
from gibbsite.layers import LAYERS

SOURCE = Path(gb.__file__).parent

RANKS = [
    {"errors"},
    {"checks", "ops", "precision"},
    {"rows"},
    {"layers"},
    {"model"},
    {"exact", "energy_based", "sampling", "io"},
    {"gradients"},
    {"likelihood"},
    {"training"},
    {"plots"},
    {"datasets"},
    {"estimators"},
    {"cli"},
    {"__main__"},
]
RANK = {name: rank for rank, group in enumerate(RANKS) for name in group}

FILES = sorted(SOURCE.rglob("*.py"))
MODULES = [path for path in FILES if path != SOURCE / "__init__.py"]
OUTSIDE_LAYERS = [path for path in MODULES if path.parent.name != "layers"]

each_file = pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
each_module = pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
each_outside_layers = pytest.mark.parametrize(
    "path", OUTSIDE_LAYERS, ids=lambda p: str(p.relative_to(SOURCE))
)


def component(path: Path) -> str:
    """The package or top-level module that a file belongs to."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> set[str]:
    """Components of gibbsite that the code imports; "gibbsite" for the package itself."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            if node.module == "gibbsite":
                found |= {f"gibbsite.{alias.name}" for alias in node.names}
            else:
                found.add(node.module)
    ours = {name for name in found if name.split(".")[0] == "gibbsite"}
    return {name.split(".")[1] if "." in name else name for name in ours}


def upward(importer: str, tree: ast.AST) -> set[str]:
    """Imports that break the order."""
    return {
        name
        for name in imported(tree) - {importer}
        if name not in RANK or RANK[name] >= RANK[importer]
    }


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@each_module
def test_imports_point_downwards(path):
    importer = component(path)
    assert importer in RANK, f"{importer} has no place in the order"
    allowed = {"gibbsite"} if importer == "cli" else set()  # the command is a user of the library
    assert upward(importer, parse(path)) <= allowed


@pytest.mark.parametrize(
    ("importer", "code"),
    [
        ("sampling", "from gibbsite.gradients import CD"),
        ("sampling", "from gibbsite import exact"),
        ("exact", "import gibbsite.sampling"),
        ("model", "def f():\n    from gibbsite.exact import sample"),
        ("layers", "from gibbsite import RBM"),
        ("io", "import gibbsite as gb"),
        ("gradients", "from gibbsite.likelihood.monitors import pseudo_likelihood"),
    ],
)
def test_an_upward_import_is_noticed(importer, code):
    assert upward(importer, ast.parse(code))


def test_a_downward_import_is_allowed():
    code = "import torch\nfrom gibbsite import exact\nfrom gibbsite.model import RBM"
    assert not upward("gradients", ast.parse(code))


def module(path: Path) -> str:
    """The name that imports the file."""
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules_imported(tree: ast.AST, known: Container[str]) -> set[str]:
    """Modules among the known ones that the code imports, for type checking alone too."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in known else node.module)
    return {name for name in found if name in known}


def circle(trees: Mapping[str, ast.AST]) -> list[str]:
    """Modules that import each other in a circle; none if imports go one way."""
    imports = {name: modules_imported(tree, trees) - {name} for name, tree in trees.items()}
    try:
        list(TopologicalSorter(imports).static_order())
    except CycleError as error:
        return error.args[1]
    return []


@pytest.mark.parametrize("part", sorted({component(path) for path in MODULES}))
def test_imports_within_a_package_go_one_way(part):
    assert not circle({module(path): parse(path) for path in MODULES if component(path) == part})


@pytest.mark.parametrize(
    "code",
    [
        "from gibbsite.cli.job import Job",
        "from gibbsite.cli import job",
        "import gibbsite.cli.job",
        "if TYPE_CHECKING:\n    from gibbsite.cli.job import Job",
        "def f():\n    from gibbsite.cli import job",
    ],
)
def test_a_circle_of_imports_is_noticed(code):
    job = ast.parse("from gibbsite.cli.console import out")
    assert circle({"gibbsite.cli.console": ast.parse(code), "gibbsite.cli.job": job})
    assert not circle({"gibbsite.cli.console": ast.parse("import json"), "gibbsite.cli.job": job})


def names_in(node: ast.AST) -> set[str]:
    """Every name and attribute used in the code, docstrings and other strings aside."""
    return {
        child.id if isinstance(child, ast.Name) else child.attr
        for child in ast.walk(node)
        if isinstance(child, ast.Name | ast.Attribute)
    }


LAYER_NAMES = {cls.__name__ for cls in LAYERS.values()} | {"Layer", "LAYERS"}
LAYER_WORDS = LAYER_NAMES | {"layer", "visible", "hidden"}


def asks_for_the_type(tree: ast.AST) -> list[str]:
    """isinstance, issubclass or a comparison with type(...) that concerns a layer."""
    found = []
    for node in ast.walk(tree):
        call = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        asks = call and node.func.id in ("isinstance", "issubclass")
        compares = isinstance(node, ast.Compare | ast.Match) and "type" in names_in(node)
        if (asks or compares) and names_in(node) & LAYER_WORDS:
            found.append(ast.unparse(node))
    return found


@each_outside_layers
def test_nobody_outside_layers_asks_for_the_type_of_a_layer(path):
    found = asks_for_the_type(parse(path))
    if component(path) == "io":  # a model file records the registry's name of the type
        assert found in ([], ["cls is type(layer)"])
    else:
        assert found == []


@pytest.mark.parametrize(
    "code",
    [
        "isinstance(rbm.visible, Gaussian)",
        "isinstance(x, gb.layers.Layer)",
        "issubclass(kind, Bernoulli)",
        "type(rbm.hidden) is Thing",
        "if type(layer) == str: pass",
    ],
)
def test_asking_for_the_type_of_a_layer_is_noticed(code):
    assert asks_for_the_type(ast.parse(code))


def test_asking_for_other_types_is_allowed():
    assert not asks_for_the_type(ast.parse("isinstance(value, int)"))


def unit_types_in(tree: ast.AST) -> set[str]:
    imports = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    return (names_in(tree) | imports) & {cls.__name__ for cls in LAYERS.values()}


@pytest.mark.parametrize(
    "path",
    [path for path in OUTSIDE_LAYERS if component(path) not in ("cli", "estimators")],
    ids=lambda p: str(p.relative_to(SOURCE)),
)
def test_unit_types_are_named_only_in_layers_and_the_front_ends(path):
    assert not unit_types_in(parse(path))


def test_naming_a_unit_type_is_noticed():
    assert unit_types_in(ast.parse("from gibbsite.layers import Gaussian"))
    assert unit_types_in(ast.parse("rbm = gb.Bernoulli(3)"))


FORBIDDEN_IMPORTS = {"pickle", "dill", "joblib", "shelve", "marshal"}
FORBIDDEN_CALLS = {
    "torch.load",
    "torch.save",
    "torch.manual_seed",
    "torch.seed",
    "torch.cuda.manual_seed",
    "torch.cuda.manual_seed_all",
    "torch.set_default_dtype",
    "torch.set_num_threads",
    "np.random.seed",
    "numpy.random.seed",
    "random.seed",
    "eval",
    "exec",
    "print",
}


def forbidden(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names} & FORBIDDEN_IMPORTS
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module.split(".")[0]} & FORBIDDEN_IMPORTS
            found |= {f"{node.module}.{alias.name}" for alias in node.names} & FORBIDDEN_CALLS
        elif isinstance(node, ast.Name | ast.Attribute):
            found |= {ast.unparse(node)} & FORBIDDEN_CALLS
    return found


@each_file
def test_nothing_unpickles_seeds_globally_or_prints(path):
    allowed = {
        "cli": {"print"},
        "estimators": {"print"},  # if verbose
        "ops": {"torch.set_num_threads"},  # for a while, and put back
    }
    assert forbidden(parse(path)) <= allowed.get(component(path), set())


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads",
        "torch.load(path)",
        "from torch import manual_seed",
        "torch.manual_seed(0)",
        "np.random.seed(1)",
        "seed = torch.manual_seed",
    ],
)
def test_forbidden_code_is_noticed(code):
    assert forbidden(ast.parse(code))


def unsafe_loads(tree: ast.AST) -> list[str]:
    """Calls of np.load that do not say allow_pickle=False."""
    return [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("np.load", "numpy.load")
        and not any(
            keyword.arg == "allow_pickle"
            and isinstance(keyword.value, ast.Constant)
            and keyword.value.value is False
            for keyword in node.keywords
        )
    ]


@each_file
def test_arrays_are_loaded_without_pickle(path):
    assert unsafe_loads(parse(path)) == []


@pytest.mark.parametrize(
    "code", ["np.load(path)", "np.load(path, allow_pickle=True)", "numpy.load(p, allow_pickle=x)"]
)
def test_unsafe_loading_is_noticed(code):
    assert unsafe_loads(ast.parse(code))


# what is public

MANY_ARGUMENTS = {
    "fit": 11,  # rbm, data, and one for each slot of the loop
    "Dataset": 8,  # a result, which is returned rather than built
    "BernoulliRBM": 17,  # hyperparameters, which scikit-learn wants flat in the constructor
    "GaussianRBM": 19,
}
MOST_ARGUMENTS = 7

PACKAGES = [gb, gb.exact, gb.datasets, gb.layers, gb.sampling, gb.gradients, gb.likelihood]
PACKAGES.append(gb.training)


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


@pytest.mark.parametrize("package", PACKAGES, ids=lambda p: p.__name__)
def test_public_names_exist_once_and_in_order(package):
    names = list(getattr(package, "__all__", []))
    assert all(hasattr(package, name) for name in names)
    assert len(set(names)) == len(names)


def own_docstring(value: object) -> str:
    """Its docstring, unless it is one that dataclass wrote or a base class left."""
    text = vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__
    generated = inspect.isclass(value) and (text or "").startswith(f"{value.__name__}(")
    return "" if generated else text or ""


@pytest.mark.parametrize("name", FUNCTIONS)
def test_public_things_have_a_docstring(name):
    text = own_docstring(FUNCTIONS[name])
    assert len(text.split()) >= 3
    assert text.strip().splitlines()[0].rstrip().endswith((".", ":", "`", ","))


@pytest.mark.parametrize("package", PACKAGES, ids=lambda p: p.__name__)
def test_packages_have_a_docstring(package):
    assert package.__doc__


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


@pytest.mark.parametrize("name", CALLED)
def test_at_most_seven_arguments(name):
    value = CALLED[name]
    arguments = [
        argument
        for argument in inspect.signature(value).parameters.values()
        if argument.name != "self"
    ]
    most = MANY_ARGUMENTS.get(name.split(".")[-1], MOST_ARGUMENTS)
    assert len(arguments) <= most


@pytest.mark.parametrize("name", CALLED)
def test_nothing_swallows_misspelt_options(name):
    value = CALLED[name]
    kinds = {argument.kind for argument in inspect.signature(value).parameters.values()}
    assert inspect.Parameter.VAR_KEYWORD not in kinds


def test_the_model_has_at_most_a_dozen_closed_forms():
    """Public methods of the model: conditionals, energies and phases, nothing with time or data."""
    methods = [name for name, value in vars(gb.RBM).items() if inspect.isfunction(value)]
    assert len([name for name in methods if not name.startswith("_")]) <= 14


ERRORS = [value for value in vars(gb).values() if inspect.isclass(value)]
ERRORS = [value for value in ERRORS if issubclass(value, Exception)]


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: e.__name__)
def test_every_error_is_a_gibbsite_error_and_public(error):
    assert issubclass(error, gb.GibbsiteError)
    assert error.__name__ in gb.__all__


def test_bad_values_are_value_errors_too():
    for error in (gb.ArgumentError, gb.DataError, gb.TooLargeError, gb.ModelFileError):
        assert issubclass(error, ValueError)
    assert issubclass(gb.OutputError, OSError)
    assert issubclass(gb.DivergenceError, ArithmeticError)


def test_importing_changes_no_global_setting():
    """The default dtype and the global generator are the user's."""
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()
