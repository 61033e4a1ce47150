# The Docker Engine of ./quickstart: find it or start it, give it an image, stop it without traces.
# Sourced by ./quickstart, whose `record` and its kin remember what was made.
# shellcheck shell=bash

engine_version() { timeout 10 docker version --format '{{.Server.Version}}' 2>/dev/null; }

has_docker() { docker "$1" inspect "$2" >/dev/null 2>&1; }

has_systemd() { [[ -d /run/systemd/system ]]; }

# Stop unless the engine that the docker command talks to, if any, is one that pynet can serve.
check_engine() {
    local place
    has docker || return 0
    [[ $(docker --version 2>/dev/null) != *podman* ]] ||
        die "The docker command here is Podman's, which has no network plugins: try './quickstart --no-docker'."
    place=$(docker context inspect --format '{{.Endpoints.docker.Host}}' 2>/dev/null) || place=
    [[ -z $place || $place == unix://* ]] ||
        die "The docker command talks to $place, but the engine of this machine is needed: unset DOCKER_HOST, or run 'docker context use default'."
    engine_version >/dev/null || return 0
    case $(docker info --format '{{.ServerVersion}} {{.OperatingSystem}} {{.SecurityOptions}}') in
        *rootless*) die "The Docker Engine that answers is rootless, and pynet serves one that runs as root." ;;
        *"Docker Desktop"*) die "Docker Desktop has its engine in a virtual machine, and pynet must run beside the engine." ;;
        29.0.[0-2]*) die "Docker Engine 29.0.0 to 29.0.2 crash with any network plugin: update it first." ;;
    esac
}

# If no engine answers, the one to come is ours. Remember what its rules will be added to, if there
# are none yet: dockerd does not take them, nor its bridge, away when it ends.
note_engine() {
    local tables policy
    if engine_version >/dev/null || recorded engine; then
        return
    fi
    record engine
    [[ ! -e /sys/class/net/docker0 ]] || return 0
    for tables in iptables ip6tables; do
        policy=$("$tables" -S FORWARD 2>/dev/null | awk '$1 == "-P" { print $3 }') || policy=
        record "policy-$tables" "${policy:-ACCEPT}"
    done
}

start_engine() {
    local version package log=$HOME_DIR/dockerd.log
    if version=$(engine_version); then
        say "Docker Engine $version answers."
        return
    fi
    if has_systemd; then
        quietly "Docker Engine does not start: see 'journalctl -u docker'." systemctl start docker
    else
        setsid dockerd >"$log" 2>&1 </dev/null &
        record engine-process $!
        wait_until $! engine_version || die "Docker Engine does not start: $(tail -n 1 "$log")"
    fi
    package=$(dpkg --search "$(command -v dockerd)" 2>/dev/null | cut -d : -f 1) || package=
    say "No Docker Engine was running: started $(engine_version)${package:+ of the package $package}."
}

# Stop the engine if ./quickstart started it and nobody else uses it by now.
stop_engine() {
    local pid
    if ! recorded engine; then
        return
    fi
    if [[ $(docker ps --quiet 2>/dev/null) ]]; then
        say "The Docker Engine stays: other containers run in it."
        return
    fi
    if has_systemd; then
        quietly "Docker Engine does not stop: see 'journalctl -u docker'." \
            systemctl stop docker.service docker.socket
    elif pid=$(running engine-process dockerd); then
        end_process "$pid"
    else
        return 0
    fi
    remove_traces
    say "Stopped the Docker Engine; its images and volumes in /var/lib/docker stay."
}

remove_traces() {
    local tables sets
    if ! recorded policy-iptables; then
        return
    fi
    ip link delete docker0 2>/dev/null || true
    for tables in iptables ip6tables; do
        "$tables-save" 2>/dev/null | undo_docker_rules | "$tables-restore" --noflush 2>/dev/null || true
        "$tables" -P FORWARD "$(value_of "policy-$tables")" 2>/dev/null || true
    done
    for sets in $(ipset list -name | grep ^docker-ext-bridges); do
        ipset destroy "$sets"
    done
    umount /run/docker/netns/* 2>/dev/null || true
    rmdir /sys/fs/cgroup/docker /sys/fs/cgroup/*/docker 2>/dev/null || true
}

# Turn what iptables-save prints into what takes Docker's rules and chains away.
undo_docker_rules() {
    awk '
        /^\*/ { chains = ""; print }
        /^:DOCKER/ { chain = substr($1, 2); chains = chains "-X " chain "\n"; print "-F " chain }
        /^-A DOCKER/ { next }
        /^-A/ && /-j DOCKER|docker0/ { print "-D" substr($0, 3) }
        /^COMMIT/ { printf "%s", chains; print }
    '
}

# Make an image of nothing but a static busybox, 2 MB: no registry is asked.
make_image() {
    local root=$HOME_DIR/image
    if has_docker image "$IMAGE"; then
        return
    fi
    rm -rf "$root"
    put_busybox "$root/bin"
    record image
    quietly "The image $IMAGE could not be made." import_image "$root"
    rm -rf "$root"
    say "Made the image $IMAGE from busybox."
}

import_image() {
    tar --directory "$1" --create bin |
        docker import --change 'ENV PATH=/bin' --change 'CMD ["sh"]' - "$IMAGE"
}

# Put a static busybox and a link for each of its commands in the new folder $1.
put_busybox() {
    mkdir -p "$1"
    if is_static /bin/busybox; then
        cp --dereference /bin/busybox "$1/busybox"
    else
        unpack_busybox "$1"
    fi
    "$1/busybox" --list | grep --line-regexp --invert-match busybox |
        xargs --replace ln --symbolic busybox "$1/{}"
}

# busybox-static cannot be installed beside the busybox that many systems have; so it is only unpacked.
unpack_busybox() {
    local unpacked=$HOME_DIR/busybox
    mkdir -p "$unpacked"
    refresh_packages
    (cd "$unpacked" && quietly "apt-get could not download busybox-static." apt-get -qq download busybox-static)
    dpkg-deb --extract "$unpacked"/busybox-static*.deb "$unpacked"
    cp --dereference "$(find "$unpacked" -name busybox -type f -perm /111)" "$1/busybox"
    rm -rf "$unpacked"
}
