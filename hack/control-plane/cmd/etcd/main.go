// Command etcd is the etcd server, whose own main package lies in a module that cannot be required beside the server's.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	etcdmain.Main(os.Args)
}
