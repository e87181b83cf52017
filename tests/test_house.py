"""Rules for the whole package: light imports, documented public names, no unsafe reading, no options in messages."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "tomostain"
MODULES = sorted(SRC.rglob("*.py"))


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "statement", ["import tomostain", "import tomostain.cli", "import tomostain.io, tomostain.prepare"]
)
def test_light_imports_load_no_torch_and_no_viewer(statement):
    heavy = [
        "torch",
        "vtk",
        "vtkmodules",
        "napari",
        "SimpleITK",
        "openslide",
        "matplotlib",
        "tensorboard",
        "neuroglancer",
    ]
    done = python(f"import sys; {statement}; print([m for m in {heavy} if m in sys.modules])")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_help_imports_next_to_nothing():
    # The cost of an import is the set of modules that it loads; seconds would depend on the machine.
    code = (
        "import sys; from tomostain.cli.main import run; run(['--help']); print(*sorted(sys.modules), file=sys.stderr)"
    )
    done = python(code)
    assert "Virtual histology" in done.stdout
    outside = {name.split(".")[0] for name in done.stderr.split()} - set(sys.stdlib_module_names)
    assert "typer" in outside
    heavy = {"torch", "numpy", "scipy", "skimage", "pydantic", "yaml", "rich", "zarr", "tifffile", "lightning_fabric"}
    assert not outside & heavy
    ours = {name for name in done.stderr.split() if name.startswith("tomostain.")}
    assert {name for name in ours if not name.startswith("tomostain.cli")} <= {
        "tomostain.deprecation",
        "tomostain.errors",
        "tomostain.interrupts",
    }


def test_training_and_staining_import_without_viewers_and_readers():
    # A cluster's GPU image may lack all of these.
    missing = [
        "vtk",
        "vtkmodules",
        "h5py",
        "hdf5plugin",
        "SimpleITK",
        "openslide",
        "zarr",
        "xraydb",
        "dask",
        "tensorboard",
    ]
    code = (
        "import sys\n"
        f"for name in {missing}: sys.modules[name] = None\n"
        "import tomostain.train, tomostain.stain, tomostain.evaluate\n"
        "print('ok')"
    )
    done = python(code)
    assert done.stdout.strip() == "ok", done.stderr


def test_unknown_attributes_are_attribute_errors():
    import tomostain

    with pytest.raises(AttributeError, match="attribute stian"):
        tomostain.stian  # noqa: B018
    assert "stain" in dir(tomostain)


@pytest.mark.parametrize("path", MODULES, ids=[str(p.relative_to(SRC)) for p in MODULES])
def test_public_names_are_documented(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "the module has no docstring"
    bare = [
        node.name
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
        and not node.name.startswith("_")
        and not any(ast.unparse(decorator) == "overload" for decorator in node.decorator_list)
        and not ast.get_docstring(node)
    ]
    assert not bare, f"no docstring: {bare}"


@pytest.mark.parametrize("path", MODULES, ids=[str(p.relative_to(SRC)) for p in MODULES])
def test_nothing_unsafe_is_read(path):
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    imported = {
        alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    } | {node.module.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    assert not imported & {"pickle", "dill", "joblib", "shelve", "marshal"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
            assert any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("np.load", "numpy.load"):
            assert not any(k.arg == "allow_pickle" and ast.unparse(k.value) == "True" for k in node.keywords)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("yaml.load", "eval", "exec", "os.system"):
            raise AssertionError(f"{ast.unparse(node.func)} in {path}")


@pytest.mark.parametrize("path", MODULES, ids=[str(p.relative_to(SRC)) for p in MODULES])
def test_examples_leave_no_temporary_files(path):
    assert not re.search(r"(>>>|\.\.\.) .*(mkdtemp|mkstemp|delete=False)", path.read_text(encoding="utf-8"))


# Other programs, and the page of the demo, which shows commands to type.
FOREIGN_OPTIONS = {"--check", "--force-reinstall", "--no-deps", "--ntasks-per-node", "--signal"}
SHOWS_COMMANDS = {"demo", "errors.py"}


def test_warnings_name_the_line_of_the_user():
    """`warn_user` issues them. A fixed stack level is right only for an older name, which the line of the user has."""
    others = [
        f"{path.relative_to(SRC)}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "warnings.warn"
        and "DeprecationWarning" not in map(ast.unparse, node.args)
    ]
    assert [each.rpartition(":")[0] for each in others] == ["errors.py"], others


def test_warnings_have_a_category_that_the_command_line_shows():
    """It shows others with a path and a line of code. An older name of Python is shown to its author only."""
    from tomostain import errors

    calls = [
        (path.relative_to(SRC), node)
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "warn_user"
    ]
    assert len(calls) > 30
    for path, call in calls:
        given = [*call.args[1:2], *(each.value for each in call.keywords if each.arg == "category")]
        name = ast.unparse(given[0]) if given else ""
        category = DeprecationWarning if name == "DeprecationWarning" else getattr(errors, name, UserWarning)
        assert issubclass(category, (errors.OutOfDistributionWarning, DeprecationWarning)), f"{path}:{call.lineno}"


@pytest.mark.parametrize("path", MODULES, ids=[str(p.relative_to(SRC)) for p in MODULES])
def test_only_the_command_line_names_options(path):
    place = path.relative_to(SRC).parts
    if place[0] == "cli" or place[0] in SHOWS_COMMANDS:
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", node.value)) - FOREIGN_OPTIONS
            assert not options, f"line {node.lineno}: name the Python parameter in backticks, not {options}"


REFERENCE = sorted((SRC.parents[1] / "docs/reference/api").glob("*.md"))


def test_the_api_reference_names_modules_that_exist():
    named = [name for page in REFERENCE for name in re.findall(r"^::: (\S+)$", page.read_text("utf-8"), re.MULTILINE)]
    assert len(named) > 10
    for name in named:
        path = SRC.parent / Path(*name.split("."))
        assert path.with_suffix(".py").is_file() or (path / "__init__.py").is_file(), name


def test_the_api_reference_lists_every_public_name():
    import tomostain

    index = next(page for page in REFERENCE if page.name == "index.md").read_text(encoding="utf-8")
    stages = {page.stem for page in REFERENCE} | {"__version__"}
    missing = [name for name in tomostain.__all__ if f"`{name}`" not in index and name not in stages]
    assert not missing
