"""Tests against a real kube-apiserver and etcd: schemas, CEL rules, field ownership."""
