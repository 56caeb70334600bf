#!/usr/bin/env bash
# A cluster all of whose certificates have expired, and that was powered off and on since: nothing runs on it any more.
# One command brings it back.
# Ends with a line of totals; exit code 1 when anything was not as it must be. The cluster is taken down in any case.
# usage: make demo-repair   (environment: PROFILE=dev for a quicker build, LIFE=5m how long the first certificates live)
set -euo pipefail
cd "$(dirname "$0")/../.."

# shellcheck source=tests/lab/demo-lib.sh
. tests/lab/demo-lib.sh

life=${LIFE:-5m}
# From the start of the command until every node is Ready; by hand it took 40 s.
most_seconds=40

nodes() { lab status -o json | jq -r '.nodes[].name'; }
on() { lab exec "$1" -- "${@:2}" </dev/null; }

# Every leaf certificate of a node, kubelet's included, a PEM file or what a kubeconfig holds. Read past certctl, and without power too.
leaves() {
    local root file
    root=$(lab node-root "$1")
    for file in "$root"/etc/kubernetes/pki/{,etcd/}*.crt "$root"/var/lib/kubelet/pki/kubelet-client-2*.pem; do
        [[ ! -f $file || $file == *ca.crt ]] || echo "$file"
    done
    for file in "$root"/etc/kubernetes/*.conf; do
        sed -n 's/ *client-certificate-data: //p' "$file" | base64 -d >"$work/$1-${file##*/}"
        [ ! -s "$work/$1-${file##*/}" ] || echo "$work/$1-${file##*/}"
    done
}

# The last moment of any of them, in seconds since 1970.
last_end() {
    leaves "$1" | while IFS= read -r file; do
        date -d "$(openssl x509 -noout -enddate -in "$file" | cut -d= -f2)" +%s
    done | sort -n | tail -1
}

everything_has_expired() {
    local name
    for name in $(nodes); do
        [ "$(last_end "$name")" -lt "$(date +%s)" ] || { echo "$name: a certificate is still valid"; return 1; }
    done
}

# Where the kubelet does not start, no static pod does. Asked after it has tried.
nothing_runs() {
    local name running begun=$SECONDS
    for name in $(nodes); do
        until [ "$(on "$name" systemctl show kubelet -p NRestarts --value)" -ge 1 ]; do
            [ $((SECONDS - begun)) -lt 60 ] || { echo "$name: the kubelet has not given up"; return 1; }
            sleep 0.5
        done
        running=$(on "$name" ctr --namespace k8s.io tasks list --quiet)
        [ -z "$running" ] || { echo "$name: containers run: $running"; return 1; }
    done
}

# Ready, and heard of since the repair began: after a power cut the API server shows for some time what was before it.
all_ready() {
    kubectl get nodes
    kubectl get nodes -o json |
        jq -e '[.items[].status.conditions[] | select(.type == "Ready") | .status == "True"] | length == 5 and all' >/dev/null
    kubectl -n kube-node-lease get leases -o json |
        jq -e --arg since "$since" '[.items[].spec.renewTime >= $since] | length == 5 and all' >/dev/null
}

not_slower_than_by_hand() { echo "$1 s"; [ "$1" -le "$most_seconds" ]; }

# Its progress goes to the terminal while it works.
exec 3>&1
repair_shown() { on cp-1 certctl repair --config /root/nodes.yaml --validity 8760h --yes 2>&1 | while IFS= read -r line; do echo "$line" >&3; done; }

# What the agents said before the end of the old certificates stands until they have looked again.
nothing_to_find() {
    local begun=$SECONDS
    until certctl check --fail-on warning; do
        [ $((SECONDS - begun)) -lt 60 ] || return 1
        sleep 0.5
    done
}

changes_nothing() {
    on cp-1 certctl repair --dry-run -o json >"$work/again"
    cat "$work/again"
    jq -e '.certificates == []' "$work/again" >/dev/null
}

say "build certctl, its image ($profile), and the lab"
make --no-print-directory image PROFILE="$profile" IMAGE="$image" IMAGE_FILE="$image_file"
cargo build --quiet --locked --profile "$profile" -p certctl-lab

say "lab up: 3 control-plane nodes and 2 workers, every leaf certificate valid for $life"
lab up --leaf-validity "$life"
lab load-image "$image_file"
lab deploy-clients
shown certctl install
check "certctl install" certctl install --image "$image"
lab status
while read -r name _; do expiration "$name" | expiration_facts >"$work/expiration-before-$name"; done < <(control_planes)

say "what the administrator has: this program on one node, ssh from there to the others, and a list of the nodes"
install -m 0755 "$certctl_program" "$(lab node-root cp-1)/usr/local/bin/certctl"
{
    printf 'apiVersion: certctl.dev/v1alpha1\nkind: Config\nnodes:\n'
    lab status -o json | jq -r '.nodes[] | "- {name: \(.name), address: \(.ip)}"'
} | tee "$(lab node-root cp-1)/root/nodes.yaml"

say "power off, all nodes, until every certificate has expired"
for name in $(nodes); do lab power-off "$name"; done
end=$(for name in $(nodes); do last_end "$name"; done | sort -n | tail -1)
# Not a gate: how long the certificates live. What is true then is checked below.
sleep $((end + 1 > $(date +%s) ? end + 1 - $(date +%s) : 0))
for name in $(nodes); do lab power-on "$name"; done
check "every certificate of every node has expired" everything_has_expired
check "no container runs anywhere" nothing_runs
shown kubectl get nodes
kubectl get nodes || true
shown certctl inspect --root /
on cp-1 certctl inspect --root / || true

say "what a repair would do on this node"
shown certctl repair --dry-run
on cp-1 certctl repair --dry-run || true

say "one command"
shown certctl repair --config nodes.yaml --validity 8760h --yes
begun=$SECONDS since=$(date -u +%FT%TZ)
check "certctl repair ends with exit code 0" repair_shown
took=$((SECONDS - begun))
shown cp /etc/kubernetes/admin.conf .kube/config
cp "$(lab node-root cp-1)/etc/kubernetes/admin.conf" "$(lab kubeconfig)"
shown kubectl get nodes
kubectl get nodes || true
check "every node is Ready" all_ready
check "in $took s (by hand $most_seconds s)" not_slower_than_by_hand "$took"

say "is the cluster as good as new?"
while read -r name _; do
    check "kubeadm certs check-expiration on $name is clean" clean_expiration "$name"
done < <(control_planes)
shown kubeadm certs check-expiration
on cp-1 kubeadm certs check-expiration 2>/dev/null || true
check "all pods run" kubectl wait pods --all --all-namespaces --for=condition=Ready --timeout=180s --request-timeout=0
check "kubectl logs works on every node" logs_work
check "certctl check finds nothing: the agents have seen the new certificates" nothing_to_find
check "certctl repair finds nothing more to do" changes_nothing
while read -r name _; do
    install -m 0755 "$certctl_program" "$(lab node-root "$name")/usr/local/bin/certctl"
    check "certctl diagnose finds nothing wrong on $name" on "$name" certctl diagnose --root / --probe
done < <(control_planes)
complete=yes
