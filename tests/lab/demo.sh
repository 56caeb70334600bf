#!/usr/bin/env bash
# The demo: a real cluster, two CA rotations under load, and whether the cluster is as good as new afterwards.
# Ends with a line of totals; exit code 1 when anything was not as it must be. The cluster is taken down in any case.
# usage: make demo   (environment: PROFILE=dev for a quicker build, RATE=200 requests a second)
set -euo pipefail
cd "$(dirname "$0")/../.."

# shellcheck source=tests/lab/demo-lib.sh
. tests/lab/demo-lib.sh

rate=${RATE:-200}
least_requests=20000 least_rate=180

# ---- the prober and the restart counter

# The summary's exit code says whether a request failed, which is asked later.
requests() { { lab probe --summarise "$1" -o json 2>/dev/null || true; } | jq '.requests // 0'; }

start_watching() {
    report=$work/report-$1
    lab restarts start
    # Not through the function, so that it is the prober that is told to stop; SIGINT never reaches a background process.
    "$lab_program" probe --report "$report" --rate "$rate" &
    prober=$!
    # A healthy stretch before anything happens, so that the figures have something to be compared with.
    sleep 15
}

stop_watching() {
    local begun=$SECONDS
    while [ $((SECONDS - begun)) -lt 15 ] || { [ "$(requests "$report")" -lt "$1" ] && [ $((SECONDS - begun)) -lt 180 ]; }; do
        sleep 1
    done
    kill -TERM "$prober"
    wait "$prober" || true
    prober=
    lab restarts stop -o json >"$report.restarts"
}

no_request_failed() {
    lab probe --summarise "$report" -o json >"$report.json" || true
    jq -e --argjson least "$1" '.failed == 0 and .requests >= $least' "$report.json" >/dev/null ||
        { lab probe --summarise "$report"; return 1; }
}
rate_held() {
    jq -r '"\(.per_second) in a second, \(.fewest_in_a_second) in the second with fewest, \(.lost) never sent"' "$report.json"
    jq -e --argjson least "$least_rate" '.per_second >= $least' "$report.json" >/dev/null
}
# restarts_at_most COMPONENT N: on each node.
restarts_at_most() {
    jq -r --arg c "$1" '.rows[] | select(.component == $c) | "\(.node) \(.restarts)"' "$report.restarts"
    jq -e --arg c "$1" --argjson most "$2" \
        '[.rows[] | select(.component == $c)] | length > 0 and all(.restarts <= $most)' "$report.restarts" >/dev/null
}

check_figures() {
    check "no API request failed, of $(requests "$report") (at least $1)" no_request_failed "$1"
    check "at least $least_rate API requests a second" rate_held
    local limit
    for limit in kube-apiserver=0 etcd=0 kube-scheduler=1 kube-controller-manager=2 kubelet=1 "other pods=0"; do
        check "restarts of ${limit%=*}: at most ${limit#*=} on each node" restarts_at_most "${limit%=*}" "${limit#*=}"
    done
}

# ---- what a rotation is judged by

completed() {
    certctl status -o json >"$work/status"
    cat "$work/status"
    jq -e --argjson version "$1" \
        '.status == "True" and .reason == "CARotationCompleted" and .caVersion == $version' "$work/status" >/dev/null
}

# Over every entrance: each API server and the balancer. Its own CA is all that the old kubeconfig trusts, so a 401 also
# shows that the connection was accepted.
refused_everywhere() {
    local server answer
    for server in $(control_planes | sed 's|.* \(.*\)|https://\1:6443|') \
        "$(kubectl config view -o 'jsonpath={.clusters[0].cluster.server}')"; do
        if answer=$(kubectl --kubeconfig "$1" --server "$server" get --raw /api/v1/namespaces 2>&1); then
            echo "$server let it in"; return 1
        fi
        echo "$server: $answer"
        [[ $answer == *Unauthorized* ]] || return 1
    done
}

works_everywhere() {
    kubectl get namespaces
    local server name ip
    for server in $(control_planes | sed 's|.* \(.*\)|https://\1:6443|'); do
        kubectl --server "$server" get --raw /api/v1/namespaces/kube-system
    done
    while read -r name ip; do
        lab exec "$name" -- kubectl --request-timeout=20s get namespaces </dev/null
    done < <(control_planes)
}

# VmHWM: the most that the agent ever had, the rotation included.
agents_are_small() {
    local name ip kib
    for name in $(lab status -o json | jq -r '.nodes[].name'); do
        # shellcheck disable=SC2016  # the node's own shell expands it
        kib=$(lab exec "$name" -- sh -c 'awk "/VmHWM/ { print \$2 }" "/proc/$(pgrep -o -f "certctl agent")/status"' </dev/null)
        echo "$name: $kib KiB"
        [ "$kib" -le 20480 ] || return 1
    done
}

exec_works() {
    local pod
    for pod in $(kubectl -n lab get pods -l app=logger -o name); do
        [ "$(kubectl -n lab exec "$pod" -- echo inside)" = inside ] || { echo "$pod: no exec"; return 1; }
    done
}

join() {
    lab "$1" "$2"
    # No registry: an image comes by hand.
    lab load-image "$image_file"
}
agents_run() { kubectl -n certctl-system rollout status daemonset/certctl-agent --timeout=180s --request-timeout=0; }

# The lab has control groups of version 1 and an old containerd, of which kubeadm complains on every cluster.
upgrade_without_complaint() {
    local code=0
    lab exec "$1" -- kubeadm upgrade node --dry-run --ignore-preflight-errors=SystemVerification \
        >"$work/upgrade" 2>&1 || code=$?
    grep -E '\[(WARNING|ERROR) |^error:' "$work/upgrade" | grep -vE 'SystemVerification|ContainerRuntimeVersion' &&
        code=1
    return "$code"
}

# What finalize names: programs started before both CAs were trusted, which may have read the old CA and never again.
names_old_containers() {
    local code=0
    certctl rotate-ca finalize --yes || code=$?
    [ "$code" -eq 5 ]
}
# As an administrator would: a control-plane node that joined later serves a stock chain, which CA 1 does not vouch for.
restart_clients() {
    kubectl -n lab delete pod -l app=proxy --request-timeout=0
    lab deploy-clients
}

rotate() {
    local version=$1
    shown certctl rotate-ca --config certctl.yaml --yes
    check "certctl rotate-ca ends with exit code 0" rotate_shown
    shown certctl status
    certctl status || true
    check "status: True, reason: CARotationCompleted, CAVersion $version" completed "$version"
}
# Its progress goes to the terminal while it works.
exec 3>&1
rotate_shown() {
    certctl rotate-ca --config "$work/certctl.yaml" --yes 2>&1 | while IFS= read -r line; do echo "$line" >&3; done
}

# ---- the demo

say "build certctl, its image ($profile), and the lab"
make --no-print-directory image PROFILE="$profile" IMAGE="$image" IMAGE_FILE="$image_file"
cargo build --quiet --locked --profile "$profile" -p certctl-lab

say "lab up: a kubeadm cluster of 3 control-plane nodes and 2 workers"
lab up
lab load-image "$image_file"
lab deploy-clients
lab status
while read -r name ip; do expiration "$name" | expiration_facts >"$work/expiration-before-$name"; done < <(control_planes)
cp "$(lab kubeconfig)" "$work/kubeconfig-1"
cat >"$work/certctl.yaml" <<'CONFIG'
apiVersion: certctl.dev/v1alpha1
kind: Config
authorities: [cluster]
CONFIG

say "install: CRDs, access rules, an agent on every node"
shown certctl install
check "certctl install" certctl install --image "$image"
shown certctl inspect
certctl inspect || failed=$((failed + 1))

say "what a rotation would do"
shown certctl rotate-ca --dry-run
certctl rotate-ca --config "$work/certctl.yaml" --dry-run >"$work/plan" || failed=$((failed + 1))
head -n 40 "$work/plan"

say "rotate the cluster CA, 1 to 2, while the prober sends $rate requests a second"
start_watching 1
rotate 2
stop_watching "$least_requests"
say "what the prober saw"
lab probe --summarise "$report" || true
say "what was started again"
lab restarts show
check_figures "$least_requests"
check "no agent has ever taken more than 20 MiB" agents_are_small

say "is the cluster as good as new?"
check "the old admin kubeconfig is refused (401) by every API server and by the balancer" refused_everywhere "$work/kubeconfig-1"
check "the new admin kubeconfigs work, at every API server" works_everywhere
while read -r name ip; do
    check "kubeadm certs check-expiration on $name is clean" clean_expiration "$name"
done < <(control_planes)
check "a new worker joins" join join-worker w-3
check "a new control-plane node joins" join join-control-plane cp-4
check "agents run on the new nodes too" agents_run
for name in cp-1 cp-4 w-1 w-3; do
    check "kubeadm upgrade node --dry-run on $name has no complaint" upgrade_without_complaint "$name"
done
check "kubectl logs works on every node" logs_work
check "kubectl exec works on every node" exec_works

say "who may still hold only CA 1?"
shown certctl rotate-ca finalize
check "finalize names the containers that may hold only CA 1, and refuses (exit code 5)" names_old_containers
check "the clients that read their CA once are restarted" restart_clients

say "and again: 2 to 3, now with 4 control-plane nodes and 3 workers"
cp "$(lab kubeconfig)" "$work/kubeconfig-2"
start_watching 2
rotate 3
stop_watching 0
lab probe --summarise "$report" | tail -n 1 || true
lab restarts show | tail -n 1
check_figures 0
check "the kubeconfig of CA 2 is refused (401) everywhere" refused_everywhere "$work/kubeconfig-2"
check "the new admin kubeconfigs work, at every API server" works_everywhere
complete=yes
