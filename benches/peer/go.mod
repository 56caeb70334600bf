module certctl.dev/bench/peer

go 1.22
