# What ./quickstart and ./runtests share: words, Debian packages and .venv.
# Sourced by them with `set -euo pipefail`, from the root of the checkout.
# shellcheck shell=bash

PATH=$PATH:/usr/sbin:/sbin # a plain `su` leaves them out
export LC_ALL=C.UTF-8      # these scripts read what tools print

readonly VENV_MIB=400     # 190 MiB measured, pip unpacks beside it
readonly PACKAGES_MIB=700 # Docker and the rest, downloaded and unpacked

say() { printf '%s\n' "$*"; }

die() {
    printf '%s\n' "$*" >&2
    exit 1
}

is_root() { ((EUID == 0)); }

has() { command -v "$1" >/dev/null; }

# Run a command in silence; when it fails, show the end of what it said and stop with sentence $1.
quietly() {
    local sentence=$1 said
    shift
    if ! said=$("$@" 2>&1 </dev/null); then
        tail -n 5 <<<"$said" >&2
        die "$sentence"
    fi
}

# Print a field of /etc/os-release.
system() (
    # shellcheck source=/dev/null
    source /etc/os-release
    printf '%s\n' "${!1-}"
)

# Succeed on Debian 12, Ubuntu 22.04, what is newer, and what is derived from them.
is_supported_system() {
    has apt-get || return 1
    case $(system ID) in
        debian) [[ $(system VERSION_ID) != [1-9] && $(system VERSION_ID) != 1[01] ]] ;;
        ubuntu) [[ $(system VERSION_ID) != 1?.* && $(system VERSION_ID) != 2[01].* ]] ;;
        *) [[ " $(system ID_LIKE) " == *" debian "* || " $(system ID_LIKE) " == *" ubuntu "* ]] ;;
    esac
}

check_system() {
    is_supported_system ||
        die "This works on Debian 12, Ubuntu 22.04 and newer ones, and this is $(system PRETTY_NAME): see 'By hand' in README.md."
}

# Stop unless the file system of folder $1 has $2 MiB to spare.
need_room() {
    local free
    free=$(df --output=avail --block-size=1M "$1" | tail -n 1)
    ((free >= $2)) || die "There is not enough room in $1: $2 MiB are needed and ${free// /} MiB are free."
}

# Stop when the packages in $@ or .venv, as far as they are missing, would find no place.
check_room() {
    if ! venv_is_ready; then
        [[ -w . ]] || die "The folder $PWD cannot be written to, and .venv has to be made in it."
        need_room "$PWD" "$VENV_MIB"
    fi
    if (($#)); then
        need_room /usr "$PACKAGES_MIB"
        need_room /var "$PACKAGES_MIB"
    fi
}

# Print the packages of those "command:package" whose command is missing.
lacking() {
    local pair
    for pair in "$@"; do
        has "${pair%%:*}" || printf '%s\n' "${pair#*:}"
    done
}

# Print the package that brings a Python with venv, unless one is here.
lacking_python() {
    if find_python >/dev/null; then
        return
    fi
    case "$(system ID) $(system VERSION_ID)" in
        "ubuntu 22.04") echo python3.11-venv ;; # its python3 is 3.10
        *) echo python3-venv ;;
    esac
}

# Install packages; asks nothing, and removes none for their sake.
install_packages() {
    (($#)) || return 0
    say "Installing packages: $*"
    refresh_packages
    apt_install --no-remove "$@"
}

# A source that is not ours may be broken; the installation tells whether it matters.
refresh_packages() { apt-get -qq update </dev/null >/dev/null 2>&1 || true; }

apt_install() {
    quietly "apt-get install $* failed." \
        env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 \
        apt-get -qq -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends "$@"
}

# Install the first of the packages that this distribution has.
install_first_of() {
    local package
    refresh_packages
    for package in "$@"; do
        if [[ $(apt-cache show "$package" 2>/dev/null) ]]; then
            install_packages "$package"
            return
        fi
    done
    die "This distribution has none of the packages $*."
}

# Print the first Python that is new enough and can make a virtual environment.
find_python() {
    local python
    for python in python3.13 python3.12 python3.11 python3 /usr/bin/python3; do
        if "$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$python"
            return
        fi
    done
    return 1
}

venv_stamp() { cat requirements.lock setup.cfg pyproject.toml - <<<"$PWD" | sha256sum; }

venv_is_ready() {
    [[ -f .venv/stamp && $(<.venv/stamp) == "$(venv_stamp)" ]] && .venv/bin/python -c '' 2>/dev/null
}

# Make .venv what requirements.lock says, with pynet itself installed in place.
make_venv() {
    local python pip=(.venv/bin/python -m pip --disable-pip-version-check --no-input --quiet)
    if venv_is_ready; then
        return
    fi
    python=$(find_python) || die "No Python 3.11 or newer with its venv module is here: install $(lacking_python)."
    say "Setting up .venv with $("$python" --version)"
    rm -f .venv/stamp
    "${pip[@]}" --version >/dev/null 2>&1 ||
        quietly "$python could not make .venv." "$python" -m venv --clear .venv
    # setuptools is in the lock: building pynet fetches nothing.
    quietly "pip could not install requirements.lock." \
        "${pip[@]}" install --root-user-action=ignore --requirement requirements.lock
    quietly "pip could not install pynet itself." \
        "${pip[@]}" install --root-user-action=ignore --no-deps --no-build-isolation --editable .
    venv_stamp >.venv/stamp
}

# Tell whether the program $1 is there and needs no library.
is_static() { [[ -x $1 ]] && ! ldd "$1" >/dev/null 2>&1; }
