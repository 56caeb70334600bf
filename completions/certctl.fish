# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_certctl_global_optspecs
    string join \n kubeconfig= context= cluster= user= request-timeout= o/output= color= progress= v/verbose h/help V/version
end

function __fish_certctl_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_certctl_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_certctl_using_subcommand
    set -l cmd (__fish_certctl_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c certctl -n "__fish_certctl_needs_command" -l kubeconfig -d 'Path to the kubeconfig file (default: $KUBECONFIG, ~/.kube/config, in-cluster)' -r -F
complete -c certctl -n "__fish_certctl_needs_command" -l context -d 'Name of the kubeconfig context to use' -r
complete -c certctl -n "__fish_certctl_needs_command" -l cluster -d 'Name of the kubeconfig cluster to use' -r
complete -c certctl -n "__fish_certctl_needs_command" -l user -d 'Name of the kubeconfig user to use' -r
complete -c certctl -n "__fish_certctl_needs_command" -l request-timeout -d 'How long to wait for one API request, for example 10s or 1m' -r
complete -c certctl -n "__fish_certctl_needs_command" -s o -l output -d 'Output format: table, wide, json, yaml, name, jsonpath=TEMPLATE, prom, markdown or junit, where it makes sense' -r -f -a "table\t'Columns for people'
wide\t'More columns'
json\t'One JSON document'
yaml\t'One YAML document'
name\t'One name per line'
prom\t'Metrics in Prometheus\' text format'
markdown\t'Tables in Markdown'
junit\t'Test results in XML for CI systems'
jsonpath=\t'What a template picks out of the JSON document'"
complete -c certctl -n "__fish_certctl_needs_command" -l color -d 'When to use colour: auto, always or never' -r -f -a "auto\t'On a terminal, unless NO_COLOR says otherwise'
always\t'Always'
never\t'Never'"
complete -c certctl -n "__fish_certctl_needs_command" -l progress -d 'How to show progress: auto, plain, json or none' -r -f -a "auto\t'Bars on a terminal, JSON with `-o json`, lines elsewhere'
plain\t'Lines'
json\t'One JSON object a line, on stdout'
none\t'Nothing'"
complete -c certctl -n "__fish_certctl_needs_command" -s v -l verbose -d 'Log more to stderr; repeat for still more'
complete -c certctl -n "__fish_certctl_needs_command" -s h -l help -d 'Print help'
complete -c certctl -n "__fish_certctl_needs_command" -s V -l version -d 'Print version'
complete -c certctl -n "__fish_certctl_needs_command" -f -a "inspect" -d 'Show certificates and what is wrong: of a node\'s files, of kubeconfigs and PEM files, of an endpoint, of the whole cluster'
complete -c certctl -n "__fish_certctl_needs_command" -f -a "check" -d 'Say what is wrong with certificates, with an exit code for CI'
complete -c certctl -n "__fish_certctl_needs_command" -f -a "diagnose" -d 'Go through everything that a healthy cluster must satisfy, item by item, with the remedy'
complete -c certctl -n "__fish_certctl_needs_command" -f -a "renew" -d 'Renew certificates, of every node through the agents or of one node on it'
complete -c certctl -n "__fish_certctl_needs_command" -f -a "repair" -d 'Bring back a cluster whose certificates have expired, on a node of it'
complete -c certctl -n "__fish_certctl_needs_command" -f -a "rotate-ca" -d 'Replace the certificate authorities of a running cluster'
complete -c certctl -n "__fish_certctl_needs_command" -f -a "status" -d 'Show where a CA rotation stands'
complete -c certctl -n "__fish_certctl_needs_command" -f -a "get-credentials" -d 'Get a kubeconfig for a user, through the CSR API or from the CA\'s key'
complete -c certctl -n "__fish_certctl_needs_command" -f -a "credential-plugin" -d 'Give a client the credential that it asks for (kubectl runs this)'
complete -c certctl -n "__fish_certctl_needs_command" -f -a "install" -d 'Install certctl\'s objects and its agent in the cluster'
complete -c certctl -n "__fish_certctl_needs_command" -f -a "uninstall" -d 'Take certctl\'s objects and its agent out of the cluster'
complete -c certctl -n "__fish_certctl_needs_command" -f -a "agent" -d 'Run the agent of one node (the DaemonSet does)'
complete -c certctl -n "__fish_certctl_needs_command" -f -a "config" -d 'Show or check a configuration file'
complete -c certctl -n "__fish_certctl_needs_command" -f -a "schema" -d 'Print the JSON schema of a document that certctl prints'
complete -c certctl -n "__fish_certctl_needs_command" -f -a "completion" -d 'Print the completion script for a shell'
complete -c certctl -n "__fish_certctl_needs_command" -f -a "version" -d 'Print the version'
complete -c certctl -n "__fish_certctl_needs_command" -f -a "generate" -d 'Write the generated files of the source tree (completions, man pages, reference)'
complete -c certctl -n "__fish_certctl_using_subcommand inspect" -l root -d 'Look at a node\'s files below this folder (`/` on the node itself)' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand inspect" -l node -d 'In the cluster: only these nodes' -r
complete -c certctl -n "__fish_certctl_using_subcommand inspect" -l kubeconfig -d 'Path to the kubeconfig file (default: $KUBECONFIG, ~/.kube/config, in-cluster)' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand inspect" -l context -d 'Name of the kubeconfig context to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand inspect" -l cluster -d 'Name of the kubeconfig cluster to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand inspect" -l user -d 'Name of the kubeconfig user to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand inspect" -l request-timeout -d 'How long to wait for one API request, for example 10s or 1m' -r
complete -c certctl -n "__fish_certctl_using_subcommand inspect" -s o -l output -d 'Output format: table, wide, json, yaml, name, jsonpath=TEMPLATE, prom, markdown or junit, where it makes sense' -r -f -a "table\t'Columns for people'
wide\t'More columns'
json\t'One JSON document'
yaml\t'One YAML document'
name\t'One name per line'
prom\t'Metrics in Prometheus\' text format'
markdown\t'Tables in Markdown'
junit\t'Test results in XML for CI systems'
jsonpath=\t'What a template picks out of the JSON document'"
complete -c certctl -n "__fish_certctl_using_subcommand inspect" -l color -d 'When to use colour: auto, always or never' -r -f -a "auto\t'On a terminal, unless NO_COLOR says otherwise'
always\t'Always'
never\t'Never'"
complete -c certctl -n "__fish_certctl_using_subcommand inspect" -l progress -d 'How to show progress: auto, plain, json or none' -r -f -a "auto\t'Bars on a terminal, JSON with `-o json`, lines elsewhere'
plain\t'Lines'
json\t'One JSON object a line, on stdout'
none\t'Nothing'"
complete -c certctl -n "__fish_certctl_using_subcommand inspect" -l probe -d 'With --root /: ask the components of this node which certificate they serve'
complete -c certctl -n "__fish_certctl_using_subcommand inspect" -l map -d 'Show who presents and who checks each certificate, and whether the verifier\'s CAs include its signer'
complete -c certctl -n "__fish_certctl_using_subcommand inspect" -s v -l verbose -d 'Log more to stderr; repeat for still more'
complete -c certctl -n "__fish_certctl_using_subcommand inspect" -s h -l help -d 'Print help'
complete -c certctl -n "__fish_certctl_using_subcommand check" -l root -d 'Look at a node\'s files below this folder (`/` on the node itself)' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand check" -l node -d 'In the cluster: only these nodes' -r
complete -c certctl -n "__fish_certctl_using_subcommand check" -l expiring-within -d 'Warn of certificates with less life left than this, for example 30d (default: 30 days or a fifth of the certificate\'s life, whichever is less; 90 days for a CA; a tenth of its life for what a kubelet renews by itself)' -r
complete -c certctl -n "__fish_certctl_using_subcommand check" -l fail-on -d 'Fail from this severity on: info, warning, error or never' -r -f -a "info\t'Anything found'
warning\t'Warnings and errors'
error\t'Errors only'
never\t'Nothing'"
complete -c certctl -n "__fish_certctl_using_subcommand check" -l kubeconfig -d 'Path to the kubeconfig file (default: $KUBECONFIG, ~/.kube/config, in-cluster)' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand check" -l context -d 'Name of the kubeconfig context to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand check" -l cluster -d 'Name of the kubeconfig cluster to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand check" -l user -d 'Name of the kubeconfig user to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand check" -l request-timeout -d 'How long to wait for one API request, for example 10s or 1m' -r
complete -c certctl -n "__fish_certctl_using_subcommand check" -s o -l output -d 'Output format: table, wide, json, yaml, name, jsonpath=TEMPLATE, prom, markdown or junit, where it makes sense' -r -f -a "table\t'Columns for people'
wide\t'More columns'
json\t'One JSON document'
yaml\t'One YAML document'
name\t'One name per line'
prom\t'Metrics in Prometheus\' text format'
markdown\t'Tables in Markdown'
junit\t'Test results in XML for CI systems'
jsonpath=\t'What a template picks out of the JSON document'"
complete -c certctl -n "__fish_certctl_using_subcommand check" -l color -d 'When to use colour: auto, always or never' -r -f -a "auto\t'On a terminal, unless NO_COLOR says otherwise'
always\t'Always'
never\t'Never'"
complete -c certctl -n "__fish_certctl_using_subcommand check" -l progress -d 'How to show progress: auto, plain, json or none' -r -f -a "auto\t'Bars on a terminal, JSON with `-o json`, lines elsewhere'
plain\t'Lines'
json\t'One JSON object a line, on stdout'
none\t'Nothing'"
complete -c certctl -n "__fish_certctl_using_subcommand check" -l probe -d 'With --root /: ask the components of this node which certificate they serve'
complete -c certctl -n "__fish_certctl_using_subcommand check" -s v -l verbose -d 'Log more to stderr; repeat for still more'
complete -c certctl -n "__fish_certctl_using_subcommand check" -s h -l help -d 'Print help'
complete -c certctl -n "__fish_certctl_using_subcommand diagnose" -l group -d 'Only these groups (repeat it, or put commas between names)' -r -f -a "nodes\t'Every node is Ready, has an agent of this version that answers, and the right time.'
authorities\t'Every CA file: valid, a CA, one CA and the same on all nodes, with its key where it belongs.'
certificates\t'Every leaf: valid and not due, signed by the right CA, with its key, its names and its usage.'
kubeconfigs\t'Every kubeconfig of the nodes: its credential, the CAs that it trusts, the name of its server.'
kubelets\t'Every kubelet gets its certificates by TLS bootstrap and renews them.'
serving\t'Every endpoint answers, serves what is on disk, and accepts and refuses the right clients.'
trust\t'Every presenter would be accepted by every verifier, with what they have loaded.'
etcd\t'Every member of etcd is healthy, and members trust each other.'
objects\t'Everything in the API that hands out a CA hands out the right one.'
requests\t'No request for a certificate waits, and no bootstrap token lives for ever.'
rotation\t'No CA rotation stands half-way, and nothing of one is left.'"
complete -c certctl -n "__fish_certctl_using_subcommand diagnose" -l root -d 'Judge what the files of a node below this folder show (`/` on the node itself)' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand diagnose" -l node -d 'In the cluster: only what concerns these nodes' -r
complete -c certctl -n "__fish_certctl_using_subcommand diagnose" -l fail-on -d 'Fail from this severity on: info, warning, error or never; what is not known counts as a warning' -r -f -a "info\t'Anything found'
warning\t'Warnings and errors'
error\t'Errors only'
never\t'Nothing'"
complete -c certctl -n "__fish_certctl_using_subcommand diagnose" -l kubeconfig -d 'Path to the kubeconfig file (default: $KUBECONFIG, ~/.kube/config, in-cluster)' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand diagnose" -l context -d 'Name of the kubeconfig context to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand diagnose" -l cluster -d 'Name of the kubeconfig cluster to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand diagnose" -l user -d 'Name of the kubeconfig user to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand diagnose" -l request-timeout -d 'How long to wait for one API request, for example 10s or 1m' -r
complete -c certctl -n "__fish_certctl_using_subcommand diagnose" -s o -l output -d 'Output format: table, wide, json, yaml, name, jsonpath=TEMPLATE, prom, markdown or junit, where it makes sense' -r -f -a "table\t'Columns for people'
wide\t'More columns'
json\t'One JSON document'
yaml\t'One YAML document'
name\t'One name per line'
prom\t'Metrics in Prometheus\' text format'
markdown\t'Tables in Markdown'
junit\t'Test results in XML for CI systems'
jsonpath=\t'What a template picks out of the JSON document'"
complete -c certctl -n "__fish_certctl_using_subcommand diagnose" -l color -d 'When to use colour: auto, always or never' -r -f -a "auto\t'On a terminal, unless NO_COLOR says otherwise'
always\t'Always'
never\t'Never'"
complete -c certctl -n "__fish_certctl_using_subcommand diagnose" -l progress -d 'How to show progress: auto, plain, json or none' -r -f -a "auto\t'Bars on a terminal, JSON with `-o json`, lines elsewhere'
plain\t'Lines'
json\t'One JSON object a line, on stdout'
none\t'Nothing'"
complete -c certctl -n "__fish_certctl_using_subcommand diagnose" -l probe -d 'With --root /: ask the components of this node which certificate they serve'
complete -c certctl -n "__fish_certctl_using_subcommand diagnose" -l no-ask -d 'Do not ask the agents to answer, which writes into their objects; what only an answer shows is not known then'
complete -c certctl -n "__fish_certctl_using_subcommand diagnose" -s v -l verbose -d 'Log more to stderr; repeat for still more'
complete -c certctl -n "__fish_certctl_using_subcommand diagnose" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c certctl -n "__fish_certctl_using_subcommand renew" -l root -d 'Without the agents: the node\'s files below this folder (`/` on the node itself; elsewhere only files are written)' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand renew" -l within -d 'Only what ends within this time' -r
complete -c certctl -n "__fish_certctl_using_subcommand renew" -l key-algorithm -d 'Kind of the new keys, as kubeadm calls it; without it as the keys replaced' -r
complete -c certctl -n "__fish_certctl_using_subcommand renew" -l validity -d 'Lifetime of the new certificates; without it as long as that of the ones replaced' -r
complete -c certctl -n "__fish_certctl_using_subcommand renew" -l csr-only -d 'Write keys and certificate requests into this folder, to be signed elsewhere' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand renew" -l import -d 'Put the certificates NAME.crt of this folder, signed elsewhere, into their places' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand renew" -l node -d 'Only this node (repeatable); without it every node' -r
complete -c certctl -n "__fish_certctl_using_subcommand renew" -l config -d 'Configuration file' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand renew" -l waive -d 'Leave this node out, by name: node/NAME (repeatable)' -r
complete -c certctl -n "__fish_certctl_using_subcommand renew" -l timeout -d 'Give up when nothing has moved for this long; 0 waits for ever' -r
complete -c certctl -n "__fish_certctl_using_subcommand renew" -l max-unavailable -d 'How many kubelets of workers may restart at the same time, as a number or a percentage' -r
complete -c certctl -n "__fish_certctl_using_subcommand renew" -l kubeconfig -d 'Path to the kubeconfig file (default: $KUBECONFIG, ~/.kube/config, in-cluster)' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand renew" -l context -d 'Name of the kubeconfig context to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand renew" -l cluster -d 'Name of the kubeconfig cluster to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand renew" -l user -d 'Name of the kubeconfig user to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand renew" -l request-timeout -d 'How long to wait for one API request, for example 10s or 1m' -r
complete -c certctl -n "__fish_certctl_using_subcommand renew" -s o -l output -d 'Output format: table, wide, json, yaml, name, jsonpath=TEMPLATE, prom, markdown or junit, where it makes sense' -r -f -a "table\t'Columns for people'
wide\t'More columns'
json\t'One JSON document'
yaml\t'One YAML document'
name\t'One name per line'
prom\t'Metrics in Prometheus\' text format'
markdown\t'Tables in Markdown'
junit\t'Test results in XML for CI systems'
jsonpath=\t'What a template picks out of the JSON document'"
complete -c certctl -n "__fish_certctl_using_subcommand renew" -l color -d 'When to use colour: auto, always or never' -r -f -a "auto\t'On a terminal, unless NO_COLOR says otherwise'
always\t'Always'
never\t'Never'"
complete -c certctl -n "__fish_certctl_using_subcommand renew" -l progress -d 'How to show progress: auto, plain, json or none' -r -f -a "auto\t'Bars on a terminal, JSON with `-o json`, lines elsewhere'
plain\t'Lines'
json\t'One JSON object a line, on stdout'
none\t'Nothing'"
complete -c certctl -n "__fish_certctl_using_subcommand renew" -l all -d 'Every certificate but those that the kubelet renews by itself'
complete -c certctl -n "__fish_certctl_using_subcommand renew" -l only-due -d 'Only what is at 80 % of its life, or has expired'
complete -c certctl -n "__fish_certctl_using_subcommand renew" -l reuse-key -d 'Keep the keys'
complete -c certctl -n "__fish_certctl_using_subcommand renew" -l dry-run -d 'Show the plan and change nothing'
complete -c certctl -n "__fish_certctl_using_subcommand renew" -l clock-is-right -d 'The time that this node shows is right, although etcd has not written here for more than a year'
complete -c certctl -n "__fish_certctl_using_subcommand renew" -s y -l yes -d 'Do not ask'
complete -c certctl -n "__fish_certctl_using_subcommand renew" -s v -l verbose -d 'Log more to stderr; repeat for still more'
complete -c certctl -n "__fish_certctl_using_subcommand renew" -s h -l help -d 'Print help'
complete -c certctl -n "__fish_certctl_using_subcommand repair" -l root -d 'The node\'s files below this folder (`/` on the node itself; elsewhere only files are written)' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand repair" -l validity -d 'Lifetime of the new certificates; without it as long as that of the ones replaced' -r
complete -c certctl -n "__fish_certctl_using_subcommand repair" -l ca-validity -d 'From now to the new end of a CA that has expired; without it as long as it was made for, ten years at most' -r
complete -c certctl -n "__fish_certctl_using_subcommand repair" -l timeout -d 'How long to wait for the control plane and the nodes; `0`: for ever' -r
complete -c certctl -n "__fish_certctl_using_subcommand repair" -l config -d 'Configuration whose `nodes:` are repaired through ssh' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand repair" -l ssh -d 'Repair the other nodes through ssh, at the addresses that the API server knows' -r
complete -c certctl -n "__fish_certctl_using_subcommand repair" -l import -d 'Certificates (PEM) of another node: signed requests, and CAs with a new end' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand repair" -l sign -d 'Sign a kubelet\'s request (PEM) with this node\'s CA and print what `--import` takes' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand repair" -l kubeconfig -d 'Path to the kubeconfig file (default: $KUBECONFIG, ~/.kube/config, in-cluster)' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand repair" -l context -d 'Name of the kubeconfig context to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand repair" -l cluster -d 'Name of the kubeconfig cluster to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand repair" -l user -d 'Name of the kubeconfig user to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand repair" -l request-timeout -d 'How long to wait for one API request, for example 10s or 1m' -r
complete -c certctl -n "__fish_certctl_using_subcommand repair" -s o -l output -d 'Output format: table, wide, json, yaml, name, jsonpath=TEMPLATE, prom, markdown or junit, where it makes sense' -r -f -a "table\t'Columns for people'
wide\t'More columns'
json\t'One JSON document'
yaml\t'One YAML document'
name\t'One name per line'
prom\t'Metrics in Prometheus\' text format'
markdown\t'Tables in Markdown'
junit\t'Test results in XML for CI systems'
jsonpath=\t'What a template picks out of the JSON document'"
complete -c certctl -n "__fish_certctl_using_subcommand repair" -l color -d 'When to use colour: auto, always or never' -r -f -a "auto\t'On a terminal, unless NO_COLOR says otherwise'
always\t'Always'
never\t'Never'"
complete -c certctl -n "__fish_certctl_using_subcommand repair" -l progress -d 'How to show progress: auto, plain, json or none' -r -f -a "auto\t'Bars on a terminal, JSON with `-o json`, lines elsewhere'
plain\t'Lines'
json\t'One JSON object a line, on stdout'
none\t'Nothing'"
complete -c certctl -n "__fish_certctl_using_subcommand repair" -l dry-run -d 'Show what is wrong and what would be done, and change nothing'
complete -c certctl -n "__fish_certctl_using_subcommand repair" -l undo -d 'Put back the files as they were before the last repair'
complete -c certctl -n "__fish_certctl_using_subcommand repair" -l clock-is-right -d 'The time that this node shows is right, whatever its files suggest'
complete -c certctl -n "__fish_certctl_using_subcommand repair" -l no-wait -d 'Do not wait for the control plane'
complete -c certctl -n "__fish_certctl_using_subcommand repair" -l join -d 'On a worker: fetch the kubelet\'s certificate from the API server, with the bootstrap token (and CAs, PEM) on stdin'
complete -c certctl -n "__fish_certctl_using_subcommand repair" -l print-join -d 'On a control-plane node that is up: make a bootstrap token for each silent node and print the command to be run there'
complete -c certctl -n "__fish_certctl_using_subcommand repair" -s y -l yes -d 'Do not ask'
complete -c certctl -n "__fish_certctl_using_subcommand repair" -s v -l verbose -d 'Log more to stderr; repeat for still more'
complete -c certctl -n "__fish_certctl_using_subcommand repair" -s h -l help -d 'Print help'
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and not __fish_seen_subcommand_from continue rollback finalize" -l config -d 'Configuration file' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and not __fish_seen_subcommand_from continue rollback finalize" -l waive -d 'Leave this node out, by name: node/NAME (repeatable)' -r
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and not __fish_seen_subcommand_from continue rollback finalize" -l timeout -d 'Give up when nothing has moved for this long; 0 waits for ever' -r
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and not __fish_seen_subcommand_from continue rollback finalize" -l max-unavailable -d 'How many kubelets may restart at the same time, as a number or a percentage' -r
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and not __fish_seen_subcommand_from continue rollback finalize" -l ca-version -d 'The CAVersion wanted; it must be the next one' -r
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and not __fish_seen_subcommand_from continue rollback finalize" -l pause-before -d 'Stop before this phase; `drop` is the point of no return' -r
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and not __fish_seen_subcommand_from continue rollback finalize" -l kubeconfig -d 'Path to the kubeconfig file (default: $KUBECONFIG, ~/.kube/config, in-cluster)' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and not __fish_seen_subcommand_from continue rollback finalize" -l context -d 'Name of the kubeconfig context to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and not __fish_seen_subcommand_from continue rollback finalize" -l cluster -d 'Name of the kubeconfig cluster to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and not __fish_seen_subcommand_from continue rollback finalize" -l user -d 'Name of the kubeconfig user to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and not __fish_seen_subcommand_from continue rollback finalize" -l request-timeout -d 'How long to wait for one API request, for example 10s or 1m' -r
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and not __fish_seen_subcommand_from continue rollback finalize" -s o -l output -d 'Output format: table, wide, json, yaml, name, jsonpath=TEMPLATE, prom, markdown or junit, where it makes sense' -r -f -a "table\t'Columns for people'
wide\t'More columns'
json\t'One JSON document'
yaml\t'One YAML document'
name\t'One name per line'
prom\t'Metrics in Prometheus\' text format'
markdown\t'Tables in Markdown'
junit\t'Test results in XML for CI systems'
jsonpath=\t'What a template picks out of the JSON document'"
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and not __fish_seen_subcommand_from continue rollback finalize" -l color -d 'When to use colour: auto, always or never' -r -f -a "auto\t'On a terminal, unless NO_COLOR says otherwise'
always\t'Always'
never\t'Never'"
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and not __fish_seen_subcommand_from continue rollback finalize" -l progress -d 'How to show progress: auto, plain, json or none' -r -f -a "auto\t'Bars on a terminal, JSON with `-o json`, lines elsewhere'
plain\t'Lines'
json\t'One JSON object a line, on stdout'
none\t'Nothing'"
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and not __fish_seen_subcommand_from continue rollback finalize" -s y -l yes -d 'Do not ask'
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and not __fish_seen_subcommand_from continue rollback finalize" -l dry-run -d 'Print the plan and change nothing'
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and not __fish_seen_subcommand_from continue rollback finalize" -l no-etcd-snapshot -d 'Do not save a snapshot of etcd first'
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and not __fish_seen_subcommand_from continue rollback finalize" -s v -l verbose -d 'Log more to stderr; repeat for still more'
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and not __fish_seen_subcommand_from continue rollback finalize" -s h -l help -d 'Print help'
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and not __fish_seen_subcommand_from continue rollback finalize" -f -a "continue" -d 'Go on with what is under way, past the pause before which it stands'
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and not __fish_seen_subcommand_from continue rollback finalize" -f -a "rollback" -d 'Return to the old CA, from any phase before the drop'
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and not __fish_seen_subcommand_from continue rollback finalize" -f -a "finalize" -d 'Destroy the old CA\'s key and take the cross-signed certificate out of the served chains'
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from continue" -l pause-before -d 'Stop before this later phase' -r
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from continue" -l config -d 'Configuration file' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from continue" -l waive -d 'Leave this node out, by name: node/NAME (repeatable)' -r
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from continue" -l timeout -d 'Give up when nothing has moved for this long; 0 waits for ever' -r
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from continue" -l max-unavailable -d 'How many kubelets may restart at the same time, as a number or a percentage' -r
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from continue" -l kubeconfig -d 'Path to the kubeconfig file (default: $KUBECONFIG, ~/.kube/config, in-cluster)' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from continue" -l context -d 'Name of the kubeconfig context to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from continue" -l cluster -d 'Name of the kubeconfig cluster to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from continue" -l user -d 'Name of the kubeconfig user to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from continue" -l request-timeout -d 'How long to wait for one API request, for example 10s or 1m' -r
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from continue" -s o -l output -d 'Output format: table, wide, json, yaml, name, jsonpath=TEMPLATE, prom, markdown or junit, where it makes sense' -r -f -a "table\t'Columns for people'
wide\t'More columns'
json\t'One JSON document'
yaml\t'One YAML document'
name\t'One name per line'
prom\t'Metrics in Prometheus\' text format'
markdown\t'Tables in Markdown'
junit\t'Test results in XML for CI systems'
jsonpath=\t'What a template picks out of the JSON document'"
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from continue" -l color -d 'When to use colour: auto, always or never' -r -f -a "auto\t'On a terminal, unless NO_COLOR says otherwise'
always\t'Always'
never\t'Never'"
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from continue" -l progress -d 'How to show progress: auto, plain, json or none' -r -f -a "auto\t'Bars on a terminal, JSON with `-o json`, lines elsewhere'
plain\t'Lines'
json\t'One JSON object a line, on stdout'
none\t'Nothing'"
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from continue" -s y -l yes -d 'Do not ask'
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from continue" -s v -l verbose -d 'Log more to stderr; repeat for still more'
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from continue" -s h -l help -d 'Print help'
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from rollback" -l config -d 'Configuration file' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from rollback" -l waive -d 'Leave this node out, by name: node/NAME (repeatable)' -r
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from rollback" -l timeout -d 'Give up when nothing has moved for this long; 0 waits for ever' -r
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from rollback" -l max-unavailable -d 'How many kubelets may restart at the same time, as a number or a percentage' -r
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from rollback" -l kubeconfig -d 'Path to the kubeconfig file (default: $KUBECONFIG, ~/.kube/config, in-cluster)' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from rollback" -l context -d 'Name of the kubeconfig context to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from rollback" -l cluster -d 'Name of the kubeconfig cluster to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from rollback" -l user -d 'Name of the kubeconfig user to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from rollback" -l request-timeout -d 'How long to wait for one API request, for example 10s or 1m' -r
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from rollback" -s o -l output -d 'Output format: table, wide, json, yaml, name, jsonpath=TEMPLATE, prom, markdown or junit, where it makes sense' -r -f -a "table\t'Columns for people'
wide\t'More columns'
json\t'One JSON document'
yaml\t'One YAML document'
name\t'One name per line'
prom\t'Metrics in Prometheus\' text format'
markdown\t'Tables in Markdown'
junit\t'Test results in XML for CI systems'
jsonpath=\t'What a template picks out of the JSON document'"
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from rollback" -l color -d 'When to use colour: auto, always or never' -r -f -a "auto\t'On a terminal, unless NO_COLOR says otherwise'
always\t'Always'
never\t'Never'"
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from rollback" -l progress -d 'How to show progress: auto, plain, json or none' -r -f -a "auto\t'Bars on a terminal, JSON with `-o json`, lines elsewhere'
plain\t'Lines'
json\t'One JSON object a line, on stdout'
none\t'Nothing'"
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from rollback" -s y -l yes -d 'Do not ask'
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from rollback" -s v -l verbose -d 'Log more to stderr; repeat for still more'
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from rollback" -s h -l help -d 'Print help'
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from finalize" -l config -d 'Configuration file' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from finalize" -l waive -d 'Leave this node out, by name: node/NAME (repeatable)' -r
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from finalize" -l timeout -d 'Give up when nothing has moved for this long; 0 waits for ever' -r
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from finalize" -l max-unavailable -d 'How many kubelets may restart at the same time, as a number or a percentage' -r
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from finalize" -l kubeconfig -d 'Path to the kubeconfig file (default: $KUBECONFIG, ~/.kube/config, in-cluster)' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from finalize" -l context -d 'Name of the kubeconfig context to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from finalize" -l cluster -d 'Name of the kubeconfig cluster to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from finalize" -l user -d 'Name of the kubeconfig user to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from finalize" -l request-timeout -d 'How long to wait for one API request, for example 10s or 1m' -r
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from finalize" -s o -l output -d 'Output format: table, wide, json, yaml, name, jsonpath=TEMPLATE, prom, markdown or junit, where it makes sense' -r -f -a "table\t'Columns for people'
wide\t'More columns'
json\t'One JSON document'
yaml\t'One YAML document'
name\t'One name per line'
prom\t'Metrics in Prometheus\' text format'
markdown\t'Tables in Markdown'
junit\t'Test results in XML for CI systems'
jsonpath=\t'What a template picks out of the JSON document'"
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from finalize" -l color -d 'When to use colour: auto, always or never' -r -f -a "auto\t'On a terminal, unless NO_COLOR says otherwise'
always\t'Always'
never\t'Never'"
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from finalize" -l progress -d 'How to show progress: auto, plain, json or none' -r -f -a "auto\t'Bars on a terminal, JSON with `-o json`, lines elsewhere'
plain\t'Lines'
json\t'One JSON object a line, on stdout'
none\t'Nothing'"
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from finalize" -l accept-cut-off -d 'Accept that containers started before both CAs were trusted, and nodes left out and not up to date, are cut off'
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from finalize" -s y -l yes -d 'Do not ask'
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from finalize" -s v -l verbose -d 'Log more to stderr; repeat for still more'
complete -c certctl -n "__fish_certctl_using_subcommand rotate-ca; and __fish_seen_subcommand_from finalize" -s h -l help -d 'Print help'
complete -c certctl -n "__fish_certctl_using_subcommand status" -l kubeconfig -d 'Path to the kubeconfig file (default: $KUBECONFIG, ~/.kube/config, in-cluster)' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand status" -l context -d 'Name of the kubeconfig context to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand status" -l cluster -d 'Name of the kubeconfig cluster to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand status" -l user -d 'Name of the kubeconfig user to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand status" -l request-timeout -d 'How long to wait for one API request, for example 10s or 1m' -r
complete -c certctl -n "__fish_certctl_using_subcommand status" -s o -l output -d 'Output format: table, wide, json, yaml, name, jsonpath=TEMPLATE, prom, markdown or junit, where it makes sense' -r -f -a "table\t'Columns for people'
wide\t'More columns'
json\t'One JSON document'
yaml\t'One YAML document'
name\t'One name per line'
prom\t'Metrics in Prometheus\' text format'
markdown\t'Tables in Markdown'
junit\t'Test results in XML for CI systems'
jsonpath=\t'What a template picks out of the JSON document'"
complete -c certctl -n "__fish_certctl_using_subcommand status" -l color -d 'When to use colour: auto, always or never' -r -f -a "auto\t'On a terminal, unless NO_COLOR says otherwise'
always\t'Always'
never\t'Never'"
complete -c certctl -n "__fish_certctl_using_subcommand status" -l progress -d 'How to show progress: auto, plain, json or none' -r -f -a "auto\t'Bars on a terminal, JSON with `-o json`, lines elsewhere'
plain\t'Lines'
json\t'One JSON object a line, on stdout'
none\t'Nothing'"
complete -c certctl -n "__fish_certctl_using_subcommand status" -s w -l watch -d 'Print again at every change, until interrupted'
complete -c certctl -n "__fish_certctl_using_subcommand status" -s v -l verbose -d 'Log more to stderr; repeat for still more'
complete -c certctl -n "__fish_certctl_using_subcommand status" -s h -l help -d 'Print help'
complete -c certctl -n "__fish_certctl_using_subcommand get-credentials" -s g -l group -d 'A group of the user (O of the certificate; repeatable, the order is kept)' -r
complete -c certctl -n "__fish_certctl_using_subcommand get-credentials" -l lifetime -d 'How long the credential is valid; the signer may give less, and at least 10m' -r
complete -c certctl -n "__fish_certctl_using_subcommand get-credentials" -s f -l file -d 'The kubeconfig to write to, `-` for stdout (default: by kubectl\'s rules, $KUBECONFIG, ~/.kube/config)' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand get-credentials" -l context-name -d 'Name of the context to write (default: USER@CLUSTER)' -r
complete -c certctl -n "__fish_certctl_using_subcommand get-credentials" -l server -d 'Address of the API server for the new entry (default: as in your kubeconfig)' -r
complete -c certctl -n "__fish_certctl_using_subcommand get-credentials" -l root -d 'Sign with the CA\'s key of this control-plane node, below this folder (`/` on the node itself); needs no API server' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand get-credentials" -l timeout -d 'Give up when nobody has approved the request for this long; 0 waits for ever' -r
complete -c certctl -n "__fish_certctl_using_subcommand get-credentials" -l kubeconfig -d 'Path to the kubeconfig file (default: $KUBECONFIG, ~/.kube/config, in-cluster)' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand get-credentials" -l context -d 'Name of the kubeconfig context to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand get-credentials" -l cluster -d 'Name of the kubeconfig cluster to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand get-credentials" -l user -d 'Name of the kubeconfig user to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand get-credentials" -l request-timeout -d 'How long to wait for one API request, for example 10s or 1m' -r
complete -c certctl -n "__fish_certctl_using_subcommand get-credentials" -s o -l output -d 'Output format: table, wide, json, yaml, name, jsonpath=TEMPLATE, prom, markdown or junit, where it makes sense' -r -f -a "table\t'Columns for people'
wide\t'More columns'
json\t'One JSON document'
yaml\t'One YAML document'
name\t'One name per line'
prom\t'Metrics in Prometheus\' text format'
markdown\t'Tables in Markdown'
junit\t'Test results in XML for CI systems'
jsonpath=\t'What a template picks out of the JSON document'"
complete -c certctl -n "__fish_certctl_using_subcommand get-credentials" -l color -d 'When to use colour: auto, always or never' -r -f -a "auto\t'On a terminal, unless NO_COLOR says otherwise'
always\t'Always'
never\t'Never'"
complete -c certctl -n "__fish_certctl_using_subcommand get-credentials" -l progress -d 'How to show progress: auto, plain, json or none' -r -f -a "auto\t'Bars on a terminal, JSON with `-o json`, lines elsewhere'
plain\t'Lines'
json\t'One JSON object a line, on stdout'
none\t'Nothing'"
complete -c certctl -n "__fish_certctl_using_subcommand get-credentials" -l set-current -d 'Make the context the current one, also where there is one already'
complete -c certctl -n "__fish_certctl_using_subcommand get-credentials" -l overwrite-existing -d 'Overwrite entries of the same name that say something else, without asking'
complete -c certctl -n "__fish_certctl_using_subcommand get-credentials" -l exec -d 'Write an entry that runs certctl, which keeps the credential in the cache folder and renews it before it expires'
complete -c certctl -n "__fish_certctl_using_subcommand get-credentials" -l break-glass -d 'Allow the group system:masters, which nothing but a CA rotation can take back'
complete -c certctl -n "__fish_certctl_using_subcommand get-credentials" -s v -l verbose -d 'Log more to stderr; repeat for still more'
complete -c certctl -n "__fish_certctl_using_subcommand get-credentials" -s h -l help -d 'Print help'
complete -c certctl -n "__fish_certctl_using_subcommand credential-plugin" -l credential -d 'Which credential of the user\'s cache folder' -r
complete -c certctl -n "__fish_certctl_using_subcommand credential-plugin" -l lifetime -d 'Lifetime to ask for at a renewal' -r
complete -c certctl -n "__fish_certctl_using_subcommand credential-plugin" -l kubeconfig -d 'Path to the kubeconfig file (default: $KUBECONFIG, ~/.kube/config, in-cluster)' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand credential-plugin" -l context -d 'Name of the kubeconfig context to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand credential-plugin" -l cluster -d 'Name of the kubeconfig cluster to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand credential-plugin" -l user -d 'Name of the kubeconfig user to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand credential-plugin" -l request-timeout -d 'How long to wait for one API request, for example 10s or 1m' -r
complete -c certctl -n "__fish_certctl_using_subcommand credential-plugin" -s o -l output -d 'Output format: table, wide, json, yaml, name, jsonpath=TEMPLATE, prom, markdown or junit, where it makes sense' -r -f -a "table\t'Columns for people'
wide\t'More columns'
json\t'One JSON document'
yaml\t'One YAML document'
name\t'One name per line'
prom\t'Metrics in Prometheus\' text format'
markdown\t'Tables in Markdown'
junit\t'Test results in XML for CI systems'
jsonpath=\t'What a template picks out of the JSON document'"
complete -c certctl -n "__fish_certctl_using_subcommand credential-plugin" -l color -d 'When to use colour: auto, always or never' -r -f -a "auto\t'On a terminal, unless NO_COLOR says otherwise'
always\t'Always'
never\t'Never'"
complete -c certctl -n "__fish_certctl_using_subcommand credential-plugin" -l progress -d 'How to show progress: auto, plain, json or none' -r -f -a "auto\t'Bars on a terminal, JSON with `-o json`, lines elsewhere'
plain\t'Lines'
json\t'One JSON object a line, on stdout'
none\t'Nothing'"
complete -c certctl -n "__fish_certctl_using_subcommand credential-plugin" -s v -l verbose -d 'Log more to stderr; repeat for still more'
complete -c certctl -n "__fish_certctl_using_subcommand credential-plugin" -s h -l help -d 'Print help'
complete -c certctl -n "__fish_certctl_using_subcommand install" -l image -d 'The agent\'s image; default: the one in the configuration file, else this version\'s' -r
complete -c certctl -n "__fish_certctl_using_subcommand install" -l config -d 'Configuration file' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand install" -l kubeconfig -d 'Path to the kubeconfig file (default: $KUBECONFIG, ~/.kube/config, in-cluster)' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand install" -l context -d 'Name of the kubeconfig context to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand install" -l cluster -d 'Name of the kubeconfig cluster to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand install" -l user -d 'Name of the kubeconfig user to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand install" -l request-timeout -d 'How long to wait for one API request, for example 10s or 1m' -r
complete -c certctl -n "__fish_certctl_using_subcommand install" -s o -l output -d 'Output format: table, wide, json, yaml, name, jsonpath=TEMPLATE, prom, markdown or junit, where it makes sense' -r -f -a "table\t'Columns for people'
wide\t'More columns'
json\t'One JSON document'
yaml\t'One YAML document'
name\t'One name per line'
prom\t'Metrics in Prometheus\' text format'
markdown\t'Tables in Markdown'
junit\t'Test results in XML for CI systems'
jsonpath=\t'What a template picks out of the JSON document'"
complete -c certctl -n "__fish_certctl_using_subcommand install" -l color -d 'When to use colour: auto, always or never' -r -f -a "auto\t'On a terminal, unless NO_COLOR says otherwise'
always\t'Always'
never\t'Never'"
complete -c certctl -n "__fish_certctl_using_subcommand install" -l progress -d 'How to show progress: auto, plain, json or none' -r -f -a "auto\t'Bars on a terminal, JSON with `-o json`, lines elsewhere'
plain\t'Lines'
json\t'One JSON object a line, on stdout'
none\t'Nothing'"
complete -c certctl -n "__fish_certctl_using_subcommand install" -l export -d 'Print the objects as YAML and apply nothing'
complete -c certctl -n "__fish_certctl_using_subcommand install" -s v -l verbose -d 'Log more to stderr; repeat for still more'
complete -c certctl -n "__fish_certctl_using_subcommand install" -s h -l help -d 'Print help'
complete -c certctl -n "__fish_certctl_using_subcommand uninstall" -l kubeconfig -d 'Path to the kubeconfig file (default: $KUBECONFIG, ~/.kube/config, in-cluster)' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand uninstall" -l context -d 'Name of the kubeconfig context to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand uninstall" -l cluster -d 'Name of the kubeconfig cluster to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand uninstall" -l user -d 'Name of the kubeconfig user to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand uninstall" -l request-timeout -d 'How long to wait for one API request, for example 10s or 1m' -r
complete -c certctl -n "__fish_certctl_using_subcommand uninstall" -s o -l output -d 'Output format: table, wide, json, yaml, name, jsonpath=TEMPLATE, prom, markdown or junit, where it makes sense' -r -f -a "table\t'Columns for people'
wide\t'More columns'
json\t'One JSON document'
yaml\t'One YAML document'
name\t'One name per line'
prom\t'Metrics in Prometheus\' text format'
markdown\t'Tables in Markdown'
junit\t'Test results in XML for CI systems'
jsonpath=\t'What a template picks out of the JSON document'"
complete -c certctl -n "__fish_certctl_using_subcommand uninstall" -l color -d 'When to use colour: auto, always or never' -r -f -a "auto\t'On a terminal, unless NO_COLOR says otherwise'
always\t'Always'
never\t'Never'"
complete -c certctl -n "__fish_certctl_using_subcommand uninstall" -l progress -d 'How to show progress: auto, plain, json or none' -r -f -a "auto\t'Bars on a terminal, JSON with `-o json`, lines elsewhere'
plain\t'Lines'
json\t'One JSON object a line, on stdout'
none\t'Nothing'"
complete -c certctl -n "__fish_certctl_using_subcommand uninstall" -s y -l yes -d 'Do not ask'
complete -c certctl -n "__fish_certctl_using_subcommand uninstall" -l discard-record -d 'Take the record of the CAs out too while it is still needed: a rotation is under way, or older CAs are not finalized'
complete -c certctl -n "__fish_certctl_using_subcommand uninstall" -s v -l verbose -d 'Log more to stderr; repeat for still more'
complete -c certctl -n "__fish_certctl_using_subcommand uninstall" -s h -l help -d 'Print help'
complete -c certctl -n "__fish_certctl_using_subcommand agent" -l root -d 'Where the node\'s root file system is mounted' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand agent" -l node -d 'The Node\'s name' -r
complete -c certctl -n "__fish_certctl_using_subcommand agent" -l kubeconfig -d 'Path to the kubeconfig file (default: $KUBECONFIG, ~/.kube/config, in-cluster)' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand agent" -l context -d 'Name of the kubeconfig context to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand agent" -l cluster -d 'Name of the kubeconfig cluster to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand agent" -l user -d 'Name of the kubeconfig user to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand agent" -l request-timeout -d 'How long to wait for one API request, for example 10s or 1m' -r
complete -c certctl -n "__fish_certctl_using_subcommand agent" -s o -l output -d 'Output format: table, wide, json, yaml, name, jsonpath=TEMPLATE, prom, markdown or junit, where it makes sense' -r -f -a "table\t'Columns for people'
wide\t'More columns'
json\t'One JSON document'
yaml\t'One YAML document'
name\t'One name per line'
prom\t'Metrics in Prometheus\' text format'
markdown\t'Tables in Markdown'
junit\t'Test results in XML for CI systems'
jsonpath=\t'What a template picks out of the JSON document'"
complete -c certctl -n "__fish_certctl_using_subcommand agent" -l color -d 'When to use colour: auto, always or never' -r -f -a "auto\t'On a terminal, unless NO_COLOR says otherwise'
always\t'Always'
never\t'Never'"
complete -c certctl -n "__fish_certctl_using_subcommand agent" -l progress -d 'How to show progress: auto, plain, json or none' -r -f -a "auto\t'Bars on a terminal, JSON with `-o json`, lines elsewhere'
plain\t'Lines'
json\t'One JSON object a line, on stdout'
none\t'Nothing'"
complete -c certctl -n "__fish_certctl_using_subcommand agent" -l until-settled -d 'Work with the token that the pod\'s agent left on the host, and end when nothing is left to do (the host\'s unit does this)'
complete -c certctl -n "__fish_certctl_using_subcommand agent" -s v -l verbose -d 'Log more to stderr; repeat for still more'
complete -c certctl -n "__fish_certctl_using_subcommand agent" -s h -l help -d 'Print help'
complete -c certctl -n "__fish_certctl_using_subcommand config; and not __fish_seen_subcommand_from view validate schema" -l kubeconfig -d 'Path to the kubeconfig file (default: $KUBECONFIG, ~/.kube/config, in-cluster)' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand config; and not __fish_seen_subcommand_from view validate schema" -l context -d 'Name of the kubeconfig context to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand config; and not __fish_seen_subcommand_from view validate schema" -l cluster -d 'Name of the kubeconfig cluster to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand config; and not __fish_seen_subcommand_from view validate schema" -l user -d 'Name of the kubeconfig user to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand config; and not __fish_seen_subcommand_from view validate schema" -l request-timeout -d 'How long to wait for one API request, for example 10s or 1m' -r
complete -c certctl -n "__fish_certctl_using_subcommand config; and not __fish_seen_subcommand_from view validate schema" -s o -l output -d 'Output format: table, wide, json, yaml, name, jsonpath=TEMPLATE, prom, markdown or junit, where it makes sense' -r -f -a "table\t'Columns for people'
wide\t'More columns'
json\t'One JSON document'
yaml\t'One YAML document'
name\t'One name per line'
prom\t'Metrics in Prometheus\' text format'
markdown\t'Tables in Markdown'
junit\t'Test results in XML for CI systems'
jsonpath=\t'What a template picks out of the JSON document'"
complete -c certctl -n "__fish_certctl_using_subcommand config; and not __fish_seen_subcommand_from view validate schema" -l color -d 'When to use colour: auto, always or never' -r -f -a "auto\t'On a terminal, unless NO_COLOR says otherwise'
always\t'Always'
never\t'Never'"
complete -c certctl -n "__fish_certctl_using_subcommand config; and not __fish_seen_subcommand_from view validate schema" -l progress -d 'How to show progress: auto, plain, json or none' -r -f -a "auto\t'Bars on a terminal, JSON with `-o json`, lines elsewhere'
plain\t'Lines'
json\t'One JSON object a line, on stdout'
none\t'Nothing'"
complete -c certctl -n "__fish_certctl_using_subcommand config; and not __fish_seen_subcommand_from view validate schema" -s v -l verbose -d 'Log more to stderr; repeat for still more'
complete -c certctl -n "__fish_certctl_using_subcommand config; and not __fish_seen_subcommand_from view validate schema" -s h -l help -d 'Print help'
complete -c certctl -n "__fish_certctl_using_subcommand config; and not __fish_seen_subcommand_from view validate schema" -f -a "view" -d 'Print the configuration with every default filled in'
complete -c certctl -n "__fish_certctl_using_subcommand config; and not __fish_seen_subcommand_from view validate schema" -f -a "validate" -d 'Say whether the configuration can be used'
complete -c certctl -n "__fish_certctl_using_subcommand config; and not __fish_seen_subcommand_from view validate schema" -f -a "schema" -d 'Print the JSON schema of the configuration file'
complete -c certctl -n "__fish_certctl_using_subcommand config; and __fish_seen_subcommand_from view" -l config -d 'The configuration file' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand config; and __fish_seen_subcommand_from view" -l kubeconfig -d 'Path to the kubeconfig file (default: $KUBECONFIG, ~/.kube/config, in-cluster)' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand config; and __fish_seen_subcommand_from view" -l context -d 'Name of the kubeconfig context to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand config; and __fish_seen_subcommand_from view" -l cluster -d 'Name of the kubeconfig cluster to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand config; and __fish_seen_subcommand_from view" -l user -d 'Name of the kubeconfig user to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand config; and __fish_seen_subcommand_from view" -l request-timeout -d 'How long to wait for one API request, for example 10s or 1m' -r
complete -c certctl -n "__fish_certctl_using_subcommand config; and __fish_seen_subcommand_from view" -s o -l output -d 'Output format: table, wide, json, yaml, name, jsonpath=TEMPLATE, prom, markdown or junit, where it makes sense' -r -f -a "table\t'Columns for people'
wide\t'More columns'
json\t'One JSON document'
yaml\t'One YAML document'
name\t'One name per line'
prom\t'Metrics in Prometheus\' text format'
markdown\t'Tables in Markdown'
junit\t'Test results in XML for CI systems'
jsonpath=\t'What a template picks out of the JSON document'"
complete -c certctl -n "__fish_certctl_using_subcommand config; and __fish_seen_subcommand_from view" -l color -d 'When to use colour: auto, always or never' -r -f -a "auto\t'On a terminal, unless NO_COLOR says otherwise'
always\t'Always'
never\t'Never'"
complete -c certctl -n "__fish_certctl_using_subcommand config; and __fish_seen_subcommand_from view" -l progress -d 'How to show progress: auto, plain, json or none' -r -f -a "auto\t'Bars on a terminal, JSON with `-o json`, lines elsewhere'
plain\t'Lines'
json\t'One JSON object a line, on stdout'
none\t'Nothing'"
complete -c certctl -n "__fish_certctl_using_subcommand config; and __fish_seen_subcommand_from view" -s v -l verbose -d 'Log more to stderr; repeat for still more'
complete -c certctl -n "__fish_certctl_using_subcommand config; and __fish_seen_subcommand_from view" -s h -l help -d 'Print help'
complete -c certctl -n "__fish_certctl_using_subcommand config; and __fish_seen_subcommand_from validate" -l config -d 'The configuration file' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand config; and __fish_seen_subcommand_from validate" -l kubeconfig -d 'Path to the kubeconfig file (default: $KUBECONFIG, ~/.kube/config, in-cluster)' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand config; and __fish_seen_subcommand_from validate" -l context -d 'Name of the kubeconfig context to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand config; and __fish_seen_subcommand_from validate" -l cluster -d 'Name of the kubeconfig cluster to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand config; and __fish_seen_subcommand_from validate" -l user -d 'Name of the kubeconfig user to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand config; and __fish_seen_subcommand_from validate" -l request-timeout -d 'How long to wait for one API request, for example 10s or 1m' -r
complete -c certctl -n "__fish_certctl_using_subcommand config; and __fish_seen_subcommand_from validate" -s o -l output -d 'Output format: table, wide, json, yaml, name, jsonpath=TEMPLATE, prom, markdown or junit, where it makes sense' -r -f -a "table\t'Columns for people'
wide\t'More columns'
json\t'One JSON document'
yaml\t'One YAML document'
name\t'One name per line'
prom\t'Metrics in Prometheus\' text format'
markdown\t'Tables in Markdown'
junit\t'Test results in XML for CI systems'
jsonpath=\t'What a template picks out of the JSON document'"
complete -c certctl -n "__fish_certctl_using_subcommand config; and __fish_seen_subcommand_from validate" -l color -d 'When to use colour: auto, always or never' -r -f -a "auto\t'On a terminal, unless NO_COLOR says otherwise'
always\t'Always'
never\t'Never'"
complete -c certctl -n "__fish_certctl_using_subcommand config; and __fish_seen_subcommand_from validate" -l progress -d 'How to show progress: auto, plain, json or none' -r -f -a "auto\t'Bars on a terminal, JSON with `-o json`, lines elsewhere'
plain\t'Lines'
json\t'One JSON object a line, on stdout'
none\t'Nothing'"
complete -c certctl -n "__fish_certctl_using_subcommand config; and __fish_seen_subcommand_from validate" -s v -l verbose -d 'Log more to stderr; repeat for still more'
complete -c certctl -n "__fish_certctl_using_subcommand config; and __fish_seen_subcommand_from validate" -s h -l help -d 'Print help'
complete -c certctl -n "__fish_certctl_using_subcommand config; and __fish_seen_subcommand_from schema" -l kubeconfig -d 'Path to the kubeconfig file (default: $KUBECONFIG, ~/.kube/config, in-cluster)' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand config; and __fish_seen_subcommand_from schema" -l context -d 'Name of the kubeconfig context to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand config; and __fish_seen_subcommand_from schema" -l cluster -d 'Name of the kubeconfig cluster to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand config; and __fish_seen_subcommand_from schema" -l user -d 'Name of the kubeconfig user to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand config; and __fish_seen_subcommand_from schema" -l request-timeout -d 'How long to wait for one API request, for example 10s or 1m' -r
complete -c certctl -n "__fish_certctl_using_subcommand config; and __fish_seen_subcommand_from schema" -s o -l output -d 'Output format: table, wide, json, yaml, name, jsonpath=TEMPLATE, prom, markdown or junit, where it makes sense' -r -f -a "table\t'Columns for people'
wide\t'More columns'
json\t'One JSON document'
yaml\t'One YAML document'
name\t'One name per line'
prom\t'Metrics in Prometheus\' text format'
markdown\t'Tables in Markdown'
junit\t'Test results in XML for CI systems'
jsonpath=\t'What a template picks out of the JSON document'"
complete -c certctl -n "__fish_certctl_using_subcommand config; and __fish_seen_subcommand_from schema" -l color -d 'When to use colour: auto, always or never' -r -f -a "auto\t'On a terminal, unless NO_COLOR says otherwise'
always\t'Always'
never\t'Never'"
complete -c certctl -n "__fish_certctl_using_subcommand config; and __fish_seen_subcommand_from schema" -l progress -d 'How to show progress: auto, plain, json or none' -r -f -a "auto\t'Bars on a terminal, JSON with `-o json`, lines elsewhere'
plain\t'Lines'
json\t'One JSON object a line, on stdout'
none\t'Nothing'"
complete -c certctl -n "__fish_certctl_using_subcommand config; and __fish_seen_subcommand_from schema" -s v -l verbose -d 'Log more to stderr; repeat for still more'
complete -c certctl -n "__fish_certctl_using_subcommand config; and __fish_seen_subcommand_from schema" -s h -l help -d 'Print help'
complete -c certctl -n "__fish_certctl_using_subcommand schema" -l kubeconfig -d 'Path to the kubeconfig file (default: $KUBECONFIG, ~/.kube/config, in-cluster)' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand schema" -l context -d 'Name of the kubeconfig context to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand schema" -l cluster -d 'Name of the kubeconfig cluster to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand schema" -l user -d 'Name of the kubeconfig user to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand schema" -l request-timeout -d 'How long to wait for one API request, for example 10s or 1m' -r
complete -c certctl -n "__fish_certctl_using_subcommand schema" -s o -l output -d 'Output format: table, wide, json, yaml, name, jsonpath=TEMPLATE, prom, markdown or junit, where it makes sense' -r -f -a "table\t'Columns for people'
wide\t'More columns'
json\t'One JSON document'
yaml\t'One YAML document'
name\t'One name per line'
prom\t'Metrics in Prometheus\' text format'
markdown\t'Tables in Markdown'
junit\t'Test results in XML for CI systems'
jsonpath=\t'What a template picks out of the JSON document'"
complete -c certctl -n "__fish_certctl_using_subcommand schema" -l color -d 'When to use colour: auto, always or never' -r -f -a "auto\t'On a terminal, unless NO_COLOR says otherwise'
always\t'Always'
never\t'Never'"
complete -c certctl -n "__fish_certctl_using_subcommand schema" -l progress -d 'How to show progress: auto, plain, json or none' -r -f -a "auto\t'Bars on a terminal, JSON with `-o json`, lines elsewhere'
plain\t'Lines'
json\t'One JSON object a line, on stdout'
none\t'Nothing'"
complete -c certctl -n "__fish_certctl_using_subcommand schema" -s v -l verbose -d 'Log more to stderr; repeat for still more'
complete -c certctl -n "__fish_certctl_using_subcommand schema" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c certctl -n "__fish_certctl_using_subcommand completion" -l kubeconfig -d 'Path to the kubeconfig file (default: $KUBECONFIG, ~/.kube/config, in-cluster)' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand completion" -l context -d 'Name of the kubeconfig context to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand completion" -l cluster -d 'Name of the kubeconfig cluster to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand completion" -l user -d 'Name of the kubeconfig user to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand completion" -l request-timeout -d 'How long to wait for one API request, for example 10s or 1m' -r
complete -c certctl -n "__fish_certctl_using_subcommand completion" -s o -l output -d 'Output format: table, wide, json, yaml, name, jsonpath=TEMPLATE, prom, markdown or junit, where it makes sense' -r -f -a "table\t'Columns for people'
wide\t'More columns'
json\t'One JSON document'
yaml\t'One YAML document'
name\t'One name per line'
prom\t'Metrics in Prometheus\' text format'
markdown\t'Tables in Markdown'
junit\t'Test results in XML for CI systems'
jsonpath=\t'What a template picks out of the JSON document'"
complete -c certctl -n "__fish_certctl_using_subcommand completion" -l color -d 'When to use colour: auto, always or never' -r -f -a "auto\t'On a terminal, unless NO_COLOR says otherwise'
always\t'Always'
never\t'Never'"
complete -c certctl -n "__fish_certctl_using_subcommand completion" -l progress -d 'How to show progress: auto, plain, json or none' -r -f -a "auto\t'Bars on a terminal, JSON with `-o json`, lines elsewhere'
plain\t'Lines'
json\t'One JSON object a line, on stdout'
none\t'Nothing'"
complete -c certctl -n "__fish_certctl_using_subcommand completion" -s v -l verbose -d 'Log more to stderr; repeat for still more'
complete -c certctl -n "__fish_certctl_using_subcommand completion" -s h -l help -d 'Print help'
complete -c certctl -n "__fish_certctl_using_subcommand version" -l kubeconfig -d 'Path to the kubeconfig file (default: $KUBECONFIG, ~/.kube/config, in-cluster)' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand version" -l context -d 'Name of the kubeconfig context to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand version" -l cluster -d 'Name of the kubeconfig cluster to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand version" -l user -d 'Name of the kubeconfig user to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand version" -l request-timeout -d 'How long to wait for one API request, for example 10s or 1m' -r
complete -c certctl -n "__fish_certctl_using_subcommand version" -s o -l output -d 'Output format: table, wide, json, yaml, name, jsonpath=TEMPLATE, prom, markdown or junit, where it makes sense' -r -f -a "table\t'Columns for people'
wide\t'More columns'
json\t'One JSON document'
yaml\t'One YAML document'
name\t'One name per line'
prom\t'Metrics in Prometheus\' text format'
markdown\t'Tables in Markdown'
junit\t'Test results in XML for CI systems'
jsonpath=\t'What a template picks out of the JSON document'"
complete -c certctl -n "__fish_certctl_using_subcommand version" -l color -d 'When to use colour: auto, always or never' -r -f -a "auto\t'On a terminal, unless NO_COLOR says otherwise'
always\t'Always'
never\t'Never'"
complete -c certctl -n "__fish_certctl_using_subcommand version" -l progress -d 'How to show progress: auto, plain, json or none' -r -f -a "auto\t'Bars on a terminal, JSON with `-o json`, lines elsewhere'
plain\t'Lines'
json\t'One JSON object a line, on stdout'
none\t'Nothing'"
complete -c certctl -n "__fish_certctl_using_subcommand version" -s v -l verbose -d 'Log more to stderr; repeat for still more'
complete -c certctl -n "__fish_certctl_using_subcommand version" -s h -l help -d 'Print help'
complete -c certctl -n "__fish_certctl_using_subcommand generate" -l kubeconfig -d 'Path to the kubeconfig file (default: $KUBECONFIG, ~/.kube/config, in-cluster)' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand generate" -l context -d 'Name of the kubeconfig context to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand generate" -l cluster -d 'Name of the kubeconfig cluster to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand generate" -l user -d 'Name of the kubeconfig user to use' -r
complete -c certctl -n "__fish_certctl_using_subcommand generate" -l request-timeout -d 'How long to wait for one API request, for example 10s or 1m' -r
complete -c certctl -n "__fish_certctl_using_subcommand generate" -s o -l output -d 'Output format: table, wide, json, yaml, name, jsonpath=TEMPLATE, prom, markdown or junit, where it makes sense' -r -f -a "table\t'Columns for people'
wide\t'More columns'
json\t'One JSON document'
yaml\t'One YAML document'
name\t'One name per line'
prom\t'Metrics in Prometheus\' text format'
markdown\t'Tables in Markdown'
junit\t'Test results in XML for CI systems'
jsonpath=\t'What a template picks out of the JSON document'"
complete -c certctl -n "__fish_certctl_using_subcommand generate" -l color -d 'When to use colour: auto, always or never' -r -f -a "auto\t'On a terminal, unless NO_COLOR says otherwise'
always\t'Always'
never\t'Never'"
complete -c certctl -n "__fish_certctl_using_subcommand generate" -l progress -d 'How to show progress: auto, plain, json or none' -r -f -a "auto\t'Bars on a terminal, JSON with `-o json`, lines elsewhere'
plain\t'Lines'
json\t'One JSON object a line, on stdout'
none\t'Nothing'"
complete -c certctl -n "__fish_certctl_using_subcommand generate" -s v -l verbose -d 'Log more to stderr; repeat for still more'
complete -c certctl -n "__fish_certctl_using_subcommand generate" -s h -l help -d 'Print help'
