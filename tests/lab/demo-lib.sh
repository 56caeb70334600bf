# What the demos share: sourced, not run, in the checkout's folder.
# After it: `check` counts, `say` and `shown` print, and at the end the cluster is taken down, whatever happened; `complete=yes` says that
# the demo came to its end.

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/certctl/target}
profile=${PROFILE:-release}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
image=certctl:$version
image_file=$CARGO_TARGET_DIR/certctl-image.tar
certctl_program=$CARGO_TARGET_DIR/${profile/#dev/debug}/certctl
# As optimised as certctl: the prober shares the machine with the cluster that it asks.
lab_program=$CARGO_TARGET_DIR/${profile/#dev/debug}/lab

work=$(mktemp -d)
prober=
passed=0 failed=0
complete=no

lab() { "$lab_program" "$@"; }
certctl() { lab run -- "$certctl_program" "$@"; }
kubectl() { lab run -- kubectl --request-timeout=20s "$@"; }
say() { printf '\n%6d s  %s\n' "$SECONDS" "$*"; }
shown() { printf '          $ %s\n' "$*"; }

# Whatever happened, the machine is left as it was.
finish() {
    local code=$?
    trap - EXIT
    if [ -n "$prober" ]; then kill "$prober" 2>/dev/null || true; fi
    say "lab down"
    [ ! -x "$lab_program" ] || lab down || code=1
    rm -rf "$work"
    [ "$complete" = yes ] || { echo "the demo ended before its end"; failed=$((failed + 1)); }
    printf '\ndemo: %d checks ok, %d FAILED, %d s\n' "$passed" "$failed" "$SECONDS"
    [ "$failed" -eq 0 ] || code=1
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# check WHAT COMMAND…: prints ok or FAILED, and what the command said when it failed.
check() {
    local what=$1 begun=$SECONDS
    shift
    # Not as the condition of an `if`, where bash goes on after an error. Words of a success nobody wants to read.
    set +e
    (set -e; "$@") >"$work/said" 2>&1 </dev/null
    local code=$?
    set -e
    if [ "$code" -eq 0 ]; then
        passed=$((passed + 1))
        printf '          ok      %s (%d s)\n' "$what" $((SECONDS - begun))
    else
        failed=$((failed + 1))
        printf '          FAILED  %s (%d s)\n' "$what" $((SECONDS - begun))
        tail -n 15 "$work/said" | sed 's/^/                  /'
    fi
}

control_planes() { lab status -o json | jq -r '.nodes[] | select(.role == "control-plane") | "\(.name) \(.ip)"'; }

# What kubeadm says of a node's certificates, without the times.
expiration() {
    lab exec "$1" -- kubeadm certs check-expiration -o json </dev/null 2>/dev/null
}
expiration_facts() {
    jq -S '[(.certificates[], .certificateAuthorities[]) | {name, missing, externallyManaged}]'
}
clean_expiration() {
    expiration "$1" >"$work/expiration"
    jq -e --arg now "$(date -u +%FT%TZ)" \
        '[.certificates[], .certificateAuthorities[] | select(.missing != true) | .expirationDate > $now] | all' "$work/expiration"
    # The same files as kubeadm made, none missing and none taken for an external CA's.
    diff <(expiration_facts <"$work/expiration") "$work/expiration-before-$1"
}

logs_work() {
    local pod pods
    pods=$(kubectl -n lab get pods -l app=logger -o name)
    [ -n "$pods" ]
    for pod in $pods; do
        [ -n "$(kubectl -n lab logs "$pod" --tail=1)" ] || { echo "$pod: no log"; return 1; }
    done
}
