#!/usr/bin/env bash
# Runs certctl and its peers in turns on the same inputs and prints the ratios of their CPU time (user and system, median of the rounds).
# Exit code 1 when a ratio is below its goal.
# usage: make bench   (environment: ROUNDS=9; KUBEADM=/path/to/kubeadm, else the lab's, which is built when it is not there yet)
set -euo pipefail
# kubeadm reads /etc/kubernetes and no other folder: it is another one for this process, and nobody else sees that.
if [ -z "${IN_OWN_NAMESPACE:-}" ]; then
    IN_OWN_NAMESPACE=1 exec unshare --mount "$BASH_SOURCE" "$@"
fi
cd "$(dirname "$0")/.."

# bash prints times with the locale's comma.
export LC_ALL=C
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/certctl/target}
rounds=${ROUNDS:-9}
work=$(mktemp -d)
export TMPDIR=$work
made=
leave() {
    mountpoint --quiet /etc/kubernetes && umount /etc/kubernetes
    [ -z "$made" ] || rmdir /etc/kubernetes
    rm -rf "$work"
}
trap leave EXIT
failed=0

say() { printf '%s\n' "$*" >&2; }

# cpu TIMES COMMAND…: milliseconds of CPU time that one of so many runs took.
cpu() {
    local times=$1 TIMEFORMAT='%U %S' spent i
    shift
    spent=$({ time for ((i = 0; i < times; i++)); do "$@" >/dev/null 2>&3 || exit 1; done; } 3>"$work/complaint" 2>&1) ||
        { say "$* failed:"; tail -n 3 "$work/complaint" >&2; exit 1; }
    awk -v times="$times" '{ printf "%.4f", 1000 * ($1 + $2) / times }' <<<"$spent"
}

median() { sort -g "$1" | awk '{ value[NR] = $1 } END { print NR % 2 ? value[(NR + 1) / 2] : (value[NR / 2] + value[NR / 2 + 1]) / 2 }'; }

# compare WHAT GOAL "NAME TIMES SCALE" -- "NAME TIMES SCALE"…: function NAME is ours first, then each peer's. SCALE: how much of the work one
# run does; a peer that would take minutes does a part.
compare() {
    local what=$1 goal=$2 round entry name times scale ours theirs best=
    shift 2
    say "$what"
    for ((round = 0; round < rounds; round++)); do
        for entry in "$@"; do
            read -r name times scale <<<"$entry"
            cpu "$times" "$name" | awk -v scale="$scale" '{ print $1 / scale }' >>"$work/$name.$goal"
        done
    done
    read -r name _ <<<"$1"
    ours=$(median "$work/$name.$goal")
    shift
    for entry in "$@"; do
        read -r name _ <<<"$entry"
        theirs=$(median "$work/$name.$goal")
        printf '%-44s %-26s %10.1f ms %10.2f ms %8.1f x\n' "$what" "${name//_/ }" "$theirs" "$ours" "$(awk "BEGIN { print $theirs / $ours }")"
        best=$(awk -v a="${best:-$theirs}" -v b="$theirs" 'BEGIN { print a < b ? a : b }')
    done
    awk "BEGIN { exit !($best / $ours >= $goal) }" || { printf '%-44s below the goal of %s x\n' "$what" "$goal"; failed=1; }
}

# ---- the programs

say "build certctl and its bench (release; this takes long the first time), the Go peer"
cargo build --locked --release -p certctl -p certctl-bench
certctl=$CARGO_TARGET_DIR/release/certctl
issue=$CARGO_TARGET_DIR/release/issue
(cd benches/peer && CGO_ENABLED=0 go build -o "$work/peer" .)
kubeadm=${KUBEADM:-}
if [ -z "$kubeadm" ]; then
    cargo run --quiet --locked -p certctl-lab --bin lab -- build
    version=$(sed -n 's|.*k8s.io/kubernetes v||p' tests/lab/kubernetes/go.mod | head -1)
    etcd=$(sed -n 's|.*go.etcd.io/etcd/server/v3 v||p' tests/lab/kubernetes/go.mod | head -1)
    kubeadm=${XDG_CACHE_HOME:-$HOME/.cache}/certctl-lab/${version%% *}-${etcd%% *}/bin/kubeadm
fi

# ---- the inputs

say "make the inputs"
node=$work/node/etc/kubernetes
mkdir -p "$node" "$work/empty"
if [ ! -d /etc/kubernetes ]; then
    mkdir /etc/kubernetes
    made=1
fi
mount --bind "$node" /etc/kubernetes
cat >"$node/kubeadm.yaml" <<CONFIG
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint: { advertiseAddress: 192.0.2.1 }
nodeRegistration: { name: node-1 }
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: $("$kubeadm" version -o short)
CONFIG
"$kubeadm" init phase certs all --config /etc/kubernetes/kubeadm.yaml >/dev/null
"$kubeadm" init phase kubeconfig all --config /etc/kubernetes/kubeadm.yaml >/dev/null
"$work/peer" generate "$work" 10000
files=$work/files bundle=$work/bundle.pem

# ---- who is compared

certctl_node() { "$certctl" inspect --root "$work/node"; }
kubeadm_check-expiration() { "$kubeadm" certs check-expiration --config /etc/kubernetes/kubeadm.yaml; }
certctl_bundle() { "$certctl" inspect "$bundle" -o json; }
openssl_storeutl() { openssl storeutl -certs -noout -text "$bundle"; }
go_crypto-x509_bundle() { "$work/peer" inspect "$bundle"; }
certctl_files() { "$certctl" inspect "$files" -o json; }
go_crypto-x509_files() { "$work/peer" inspect "$files"; }
certctl_issues() { "$issue" "$work/issued-$round" 1000; }
# Key and certificate of one leaf, as often as the loop says: certtool makes one at a time.
printf 'cn = "kubernetes"\nca\ncert_signing_key\nexpiration_days = 365\n' >"$work/ca.cfg"
printf 'organization = "system:nodes"\ncn = "system:node:node-1"\ntls_www_client\nsigning_key\nexpiration_days = 365\n' >"$work/leaf.cfg"
certtool --generate-privkey --key-type=ecdsa --curve=secp256r1 --outfile "$work/ca.key" 2>/dev/null
certtool --generate-self-signed --load-privkey "$work/ca.key" --template "$work/ca.cfg" --outfile "$work/ca.crt" 2>/dev/null
certtool_one_leaf_a_run() {
    certtool --generate-privkey --key-type=ecdsa --curve=secp256r1 --outfile "$work/leaf.key" &&
        certtool --generate-certificate --load-privkey "$work/leaf.key" --load-ca-certificate "$work/ca.crt" \
            --load-ca-privkey "$work/ca.key" --template "$work/leaf.cfg" --outfile "$work/leaf.crt"
}

printf '%-44s %-26s %13s %13s %10s\n' WORK PEER "PEER'S CPU" "OUR CPU" RATIO
compare "inspect a control-plane node" 20 "certctl_node 20 1" "kubeadm_check-expiration 3 1"
compare "inspect a bundle of 10,000 certificates" 30 "certctl_bundle 1 1" "openssl_storeutl 1 1"
compare "inspect 10,000 certificates in files" 4 "certctl_files 1 1" "go_crypto-x509_files 1 1"
compare "inspect a bundle of 10,000 (Go)" 4.0 "certctl_bundle 1 1" "go_crypto-x509_bundle 1 1"
# 20 leaves of certtool stand for 1,000.
compare "issue 1,000 P-256 leaves, on disk" 60 "certctl_issues 1 1" "certtool_one_leaf_a_run 20 0.001"

# ---- what broken input may cost

say "malformed input: the node's files, mutated; then the vectors of pyca/cryptography"
limits() { "$work/peer" limits "$certctl" "$@" || failed=1; }
limits "$work/node" 2000
pip3 download --quiet --no-deps --dest "$work/vectors" cryptography-vectors
(cd "$work/vectors" && unzip -q ./*.whl 'cryptography_vectors/x509/*' 'cryptography_vectors/asymmetric/*' && rm ./*.whl)
limits "$work/vectors" 2000
say "load $(cut -d' ' -f1-3 /proc/loadavg), $(nproc) processors, $rounds rounds"
exit "$failed"
