package vmm

import (
	"errors"
	"testing"
)

func TestVirtiofsdArgs(t *testing.T) {
	full := VirtiofsdOptions{
		SharedDir: `/run/a b,c=d\e`, Cache: "always", TimeoutSec: 1, ThreadPool: 4, XattrEnabled: true,
		AnnounceSubmounts: true, RlimitNofile: 20000,
	}
	plain := VirtiofsdOptions{SharedDir: "/run/shared"}
	never := VirtiofsdOptions{SharedDir: "/run/shared", Cache: "never"}
	for name, o := range map[string]VirtiofsdOptions{"full": full, "plain": plain, "never": never} {
		for implementation, rust := range map[string]bool{"c": false, "rust": true} {
			o.Rust = rust
			args, err := o.Args()
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "virtiofsd-"+implementation+"-"+name, args)
		}
	}
}

func TestVirtiofsdRefuses(t *testing.T) {
	for _, o := range []VirtiofsdOptions{
		{},
		{SharedDir: "/s", Cache: "always,source=/"},
		{SharedDir: "/s", TimeoutSec: -1},
		{SharedDir: "/s", ThreadPool: -1},
	} {
		if _, err := o.Args(); !errors.Is(err, ErrInvalidConfig) {
			t.Errorf("%+v: got error %v", o, err)
		}
		if _, err := StartVirtiofsd(o); !errors.Is(err, ErrInvalidConfig) {
			t.Errorf("%+v: started: %v", o, err)
		}
	}
}
