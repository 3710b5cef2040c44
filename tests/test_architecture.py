"""The shape of the source: who may import whom, and what no module may do.

A rule is a function that returns what breaks it, and one test reports every place where it does.
"""

import ast
from collections.abc import Callable, Container, Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import gibbsite as gb
from gibbsite.layers import LAYERS

SOURCE = Path(gb.__file__).parent

RANKS = [
    {"errors", "startup"},
    {"checks", "covariance", "ops", "precision"},
    {"rows"},
    {"layers"},
    {"model"},
    {"diagnosis", "observed"},
    {"exact", "energy_based", "sampling", "io"},
    {"gradients"},
    {"testing"},
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
FRONT_ENDS = ("cli", "estimators", "testing")
"""Components that make models themselves, of unit types that they name."""


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


TREES = {path: parse(path) for path in FILES}


def breaches(rule: Callable[[Path], object], paths: Iterable[Path]) -> dict[str, object]:
    """What breaks a rule in each of the files, by its name; empty if nothing does."""
    found = {str(path.relative_to(SOURCE)): rule(path) for path in paths}
    return {name: breach for name, breach in found.items() if breach}


def test_imports_point_downwards():
    assert {component(path) for path in MODULES} <= set(RANK), "a component without a place"

    def rule(path: Path) -> set[str]:
        importer = component(path)
        allowed = {"gibbsite"} if importer == "cli" else set()  # the command uses the library
        return upward(importer, TREES[path]) - allowed

    assert breaches(rule, MODULES) == {}


def test_an_upward_import_is_noticed():
    for importer, code in (
        ("sampling", "from gibbsite.gradients import CD"),
        ("sampling", "from gibbsite import exact"),
        ("exact", "import gibbsite.sampling"),
        ("model", "def f():\n    from gibbsite.exact import sample"),
        ("layers", "from gibbsite import RBM"),
        ("io", "import gibbsite as gb"),
        ("gradients", "from gibbsite.likelihood.monitors import pseudo_likelihood"),
    ):
        assert upward(importer, ast.parse(code)), code


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


def test_imports_within_a_package_go_one_way():
    for part in {component(path) for path in MODULES}:
        assert not circle(
            {module(path): TREES[path] for path in MODULES if component(path) == part}
        )


def test_a_circle_of_imports_is_noticed():
    job = ast.parse("from gibbsite.cli.console import out")
    for code in (
        "from gibbsite.cli.job import Job",
        "from gibbsite.cli import job",
        "import gibbsite.cli.job",
        "if TYPE_CHECKING:\n    from gibbsite.cli.job import Job",
        "def f():\n    from gibbsite.cli import job",
    ):
        assert circle({"gibbsite.cli.console": ast.parse(code), "gibbsite.cli.job": job}), code
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


def test_nobody_outside_layers_asks_for_the_type_of_a_layer():
    assert breaches(lambda path: asks_for_the_type(TREES[path]), OUTSIDE_LAYERS) == {}


def test_asking_for_the_type_of_a_layer_is_noticed():
    for code in (
        "isinstance(rbm.visible, Gaussian)",
        "isinstance(x, gb.layers.Layer)",
        "issubclass(kind, Bernoulli)",
        "type(rbm.hidden) is Thing",
        "if type(layer) == str: pass",
    ):
        assert asks_for_the_type(ast.parse(code)), code


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


def test_unit_types_are_named_only_in_layers_and_the_front_ends():
    paths = [path for path in OUTSIDE_LAYERS if component(path) not in FRONT_ENDS]
    assert breaches(lambda path: unit_types_in(TREES[path]), paths) == {}


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


def test_nothing_unpickles_seeds_globally_or_prints():
    allowed = {
        "cli": {"print"},
        "estimators": {"print"},  # if verbose
        "ops": {"torch.set_num_threads"},  # for a while, and put back
    }

    def rule(path: Path) -> set[str]:
        return forbidden(TREES[path]) - allowed.get(component(path), set())

    assert breaches(rule, FILES) == {}


def test_forbidden_code_is_noticed():
    for code in (
        "import pickle",
        "from pickle import loads",
        "torch.load(path)",
        "from torch import manual_seed",
        "torch.manual_seed(0)",
        "np.random.seed(1)",
        "seed = torch.manual_seed",
    ):
        assert forbidden(ast.parse(code)), code


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


def test_arrays_are_loaded_without_pickle():
    assert breaches(lambda path: unsafe_loads(TREES[path]), FILES) == {}
    for arguments in ("path", "path, allow_pickle=True", "path, allow_pickle=x"):
        assert unsafe_loads(ast.parse(f"np.load({arguments})"))
