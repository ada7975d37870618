#!/bin/sh
# Makes .venv and fills it from the lock files; does nothing when that is already done.
#
#   ./setup.sh venv      an empty environment
#   ./setup.sh demo      what `make demo` and `make build` need: a few small packages
#   ./setup.sh dev       everything `make check` needs: all of requirements.lock
#   ./setup.sh clients   dev and the MySQL drivers of the integration tests: requirements-clients.lock
#
# PYTHON=/path/to/python3 chooses the interpreter; otherwise the first one of at least 3.11 is taken.
set -eu
cd "$(dirname "$0")"

venv=.venv
# What the demo runs: the layer's own dependencies, the runtime that calls the sample function, and what installs us.
# Their versions are those of requirements.lock.
demo_packages="PyMySQL mysql-mimic awslambdaric requests setuptools"

say() { printf '%s\n' "setup: $*" >&2; }
fail() { say "$*"; exit 1; }

## find_python - Print the first interpreter of at least 3.11. A pyenv shim of a version that is not selected does not count.
find_python() {
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python3.14; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    fail "no Python of at least 3.11 found; install one, or say PYTHON=/path/to/python3"
}

## need_ensurepip PYTHON - Debian packs ensurepip apart from Python: install it as root, else say how.
need_ensurepip() {
    if "$1" -c 'import ensurepip' 2>/dev/null; then return; fi
    package="python$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
    if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
        say "$1 has no ensurepip: installing the Debian package $package"
        said=$(apt-get update -qq 2>&1) || fail "$said"
        said=$(DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" 2>&1) || fail "$said"
    else
        fail "$1 cannot make virtual environments: install $package (Debian, Ubuntu) or another Python, then try again"
    fi
}

## make_venv - Create .venv unless a working one of at least 3.11 is there.
make_venv() {
    if "$venv/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then return; fi
    python=$(find_python)
    need_ensurepip "$python"
    say "making $venv with $python ($("$python" -V))"
    rm -rf "$venv"
    "$python" -m venv "$venv"
}

## fingerprint FILES… - What a stamp holds: it changes with the project's settings and the given lock files.
fingerprint() { cat pyproject.toml setup.sh "$@" | cksum; }

## done_before NAME FINGERPRINT - Was this level installed from the very same files?
done_before() { [ "$(cat "$venv/.setup-$1" 2>/dev/null)" = "$2" ]; }

## install_project - Put the checkout on the environment's path. The build back end is the lock's own setuptools.
install_project() { pip install --no-deps --no-build-isolation --editable .; }

pip() { "$venv/bin/python" -m pip --disable-pip-version-check -qq "$@"; }

setup_demo() {
    make_venv
    print=$(fingerprint requirements.lock)
    if done_before dev "$print" || done_before demo "$print"; then return; fi
    say "installing what the demo needs"
    # shellcheck disable=SC2086 # a list of words
    pip install --constraint requirements.lock $demo_packages
    install_project
    echo "$print" >"$venv/.setup-demo"
}

setup_dev() {
    make_venv
    print=$(fingerprint requirements.lock)
    if done_before dev "$print"; then return; fi
    say "installing requirements.lock"
    pip install --no-deps --requirement requirements.lock
    install_project
    echo "$print" >"$venv/.setup-dev"
}

setup_clients() {
    setup_dev
    print=$(fingerprint requirements.lock requirements-clients.lock)
    if done_before clients "$print"; then return; fi
    say "installing requirements-clients.lock"
    pip install --no-deps --requirement requirements-clients.lock
    echo "$print" >"$venv/.setup-clients"
}

case "${1-}" in
venv) make_venv ;;
demo | dev | clients) "setup_$1" ;;
*) sed -n 's/^#   //p' "$0"; exit 2 ;;
esac
