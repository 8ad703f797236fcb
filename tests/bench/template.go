package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The two ways in which runvm is measured: cloned from a template, and booted.
const (
	fromTemplate = "runvm"
	booted       = "runvm-cold"
)

// prepare makes the template that the engine clones, or keeps it from cloning one.
func (e *engine) prepare(ctx context.Context) error {
	switch e.name {
	case fromTemplate:
		out, err := exec.CommandContext(ctx, e.path, "template", "list").Output()
		if err != nil {
			return fmt.Errorf("template list: %w", err)
		}
		key, err := exec.CommandContext(ctx, e.path, "template", "create").Output()
		if err != nil {
			return fmt.Errorf("template create: %w", err)
		}
		if made := strings.TrimSpace(string(key)); !strings.Contains(string(out), made) {
			e.template = made
		}
	case booted:
		file := filepath.Join(e.dir, "config.toml")
		if err := os.WriteFile(file, []byte("template = \"off\"\n"), 0o600); err != nil {
			return err
		}
		e.env = append(os.Environ(), "RUNVM_CONFIG="+file)
	}
	return nil
}

// tidy removes the template if it was not there before.
func (e *engine) tidy() error {
	if e.template == "" {
		return nil
	}
	out, err := exec.Command(e.path, "template", "rm", e.template).CombinedOutput()
	if err != nil {
		return fmt.Errorf("template rm: %w: %s", err, out)
	}
	return nil
}
