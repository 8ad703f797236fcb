package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"github.com/runvm/runvm/globals"
)

func TestFlagsFirst(t *testing.T) {
	app := newApp(&globals.Globals{Logger: logrus.New()})
	for in, want := range map[string]string{
		"runvm":                                    "runvm",
		"runvm --version":                          "runvm --version",
		"runvm delete c --force":                   "runvm delete --force c",
		"runvm --root /r delete c -f":              "runvm --root /r delete -f c",
		"runvm --root=/r create c --bundle b":      "runvm --root=/r create --bundle b c",
		"runvm create --bundle=b c --no-pivot":     "runvm create --bundle=b --no-pivot c",
		"runvm kill c 9":                           "runvm kill c 9",
		"runvm exec c sh -c ls":                    "runvm exec c sh -c ls",
		"runvm delete -- --force":                  "runvm delete -- --force",
		"runvm nonsense c --x":                     "runvm nonsense c --x",
		"runvm --log /l --log-format json state c": "runvm --log /l --log-format json state c",
	} {
		got := flagsFirst(app, strings.Fields(in))
		if diff := cmp.Diff(strings.Fields(want), got); diff != "" {
			t.Errorf("%s: %s", in, diff)
		}
	}
}
