#!/bin/sh
# Resolves the two lock files anew, for every Python from 3.11 on and every platform, with uv in an environment of its own.
#
#   requirements.lock           the layer's dependencies, the extras `aws` and `dev`, and the build back end
#   requirements-clients.lock   the extra `clients`, on top of the same versions
#
# Pass --upgrade to move to the newest versions; without it, what is pinned stays unless pyproject.toml says otherwise.
set -eu
cd "$(dirname "$0")"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
./setup.sh venv
.venv/bin/python -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip --disable-pip-version-check --quiet install uv

## resolve OUTPUT ARGUMENTS… - Pin what the arguments ask for. No registry is named, neither in the file nor in its header.
resolve() {
    output=$1
    shift
    "$scratch/venv/bin/uv" --quiet --no-config pip compile --universal --python-version 3.11 \
        --custom-compile-command ./lock.sh --output-file "$output" "$@"
}

# The back end is installed like everything else, so that a build never fetches a version that nobody chose.
.venv/bin/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' |
    resolve requirements.lock --extra aws --extra dev pyproject.toml - "$@"
resolve requirements-clients.lock --extra clients --constraint requirements.lock pyproject.toml "$@"
