#!/bin/sh
# Builds the Lambda layer. What it consists of is told by layer/assemble.py; two builds give the same bytes.
#
#   ./build.sh               dist/warmwire-layer.zip
#   ./build.sh tree FOLDER   the same files, unpacked: FOLDER is then what Lambda has as /opt
#   ./build.sh sample FOLDER the sample function with its driver: FOLDER is then what Lambda has as /var/task
#
# The modules are shipped compiled as well: /opt is read-only, so a runtime could never keep what it compiled, and would do
# it again at every cold start. Each Python of `versions` that is on this machine compiles its own; the others still run
# the layer, from source.
set -eu
cd "$(dirname "$0")"

versions="3.11 3.12 3.13 3.14"

say() { printf '%s\n' "build: $*"; }

## candidates VERSION - Print where a Python of that version may be: the PATH, the usual folders, pyenv.
candidates() {
    command -v "python$1" || true
    printf '%s\n' "/usr/bin/python$1" "/usr/local/bin/python$1" "${PYENV_ROOT:-${HOME-}/.pyenv}/versions/$1".*/bin/"python$1" \
        .venv/bin/python
}

## find_python VERSION - Print the first final release among the candidates; a pyenv shim may exist and not run.
find_python() {
    candidates "$1" | while read -r python; do
        if [ "$("$python" -c 'import sys; print("%d.%d %s" % (*sys.version_info[:2], sys.version_info[3]))' 2>/dev/null)" = "$1 final" ]; then
            printf '%s\n' "$python"
            break
        fi
    done
}

## compile PYTHON TREE - Add the compiled files of one Python version.
# unchecked-hash: the runtime trusts them without comparing dates, which differ in every unpacked zip. The names inside are
# those of /opt. Nothing of this shell's environment is passed on, and strings hash the same way in every build.
compile() {
    env -i PATH=/usr/bin:/bin PYTHONHASHSEED=0 "$1" -s -m compileall -q -o 0 --invalidation-mode unchecked-hash \
        -s "$2" -p /opt "$2/warmwire"
}

## tree FOLDER - Stage the files in an empty folder, compile them, and say for which versions.
tree() {
    ./setup.sh demo
    .venv/bin/python layer/assemble.py stage "$1"
    compiled="" from_source=""
    for version in $versions; do
        python=$(find_python "$version")
        if [ -n "$python" ]; then
            compile "$python" "$1"
            compiled="$compiled $version"
        else
            from_source="$from_source $version"
        fi
    done
    say "compiled for Python:${compiled:- none}"
    [ -z "$from_source" ] || say "runs from source, with a slower cold start, on Python:$from_source (not on this machine)"
}

## sample FOLDER - Stage the sample function with the driver that it brings along.
sample() {
    ./setup.sh demo
    .venv/bin/python layer/assemble.py stage-sample "$1"
}

## layer - Build dist/warmwire-layer.zip; it appears complete or not at all.
layer() {
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    tree "$scratch/opt"
    .venv/bin/python layer/assemble.py pack "$scratch/opt" "$scratch/warmwire-layer.zip"
    mkdir -p dist
    cp "$scratch/warmwire-layer.zip" "dist/.warmwire-layer.$$"
    mv "dist/.warmwire-layer.$$" dist/warmwire-layer.zip
    say "dist/warmwire-layer.zip, $(wc -c <dist/warmwire-layer.zip) bytes"
}

case "${1-layer}" in
layer) layer ;;
tree | sample) "$1" "${2:?which folder?}" ;;
*) sed -n 's/^#   //p' "$0"; exit 2 ;;
esac
