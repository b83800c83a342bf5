package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// baseLayer holds a root file system just large enough to run a container. It does not depend on the seed: images of
// different seeds share it.
func baseLayer(busybox string) (*layer, error) {
	program, err := os.ReadFile(busybox)
	if err != nil {
		return nil, fmt.Errorf("read busybox (Debian package busybox-static): %w", err)
	}
	applets, err := listApplets(busybox)
	if err != nil {
		return nil, err
	}

	l := newLayer("base")
	for _, dir := range []string{"bin", "dev", "etc", "home", "opt", "proc", "run", "sys", "usr", "usr/bin", "var"} {
		l.dir(dir)
	}
	l.dir("root", mode(0o700))
	l.dir("tmp", mode(0o1777))
	l.file("bin/busybox", string(program), mode(0o755))
	for _, applet := range applets {
		l.symlink("bin/"+applet, "busybox")
	}
	l.file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
	l.file("etc/group", "root:x:0:\nnogroup:x:65534:\n")
	l.file("etc/shadow", "root:*:::::::\n", mode(0o600))
	l.file("etc/os-release", "ID=testimage\nPRETTY_NAME=\"test image\"\n")
	l.file("etc/nsswitch.conf", "hosts: files dns\n")
	return l, nil
}

func listApplets(busybox string) ([]string, error) {
	path, err := filepath.Abs(busybox)
	if err != nil {
		return nil, err
	}
	out, err := exec.Command(path, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("list the applets of %s: %w", busybox, err)
	}
	applets := strings.Fields(string(out))
	applets = slices.DeleteFunc(applets, func(name string) bool { return name == "busybox" })
	slices.Sort(applets)
	return slices.Compact(applets), nil
}
