package vmm

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// migrationHandler answers like a QEMU whose migration ends with the given status.
func migrationHandler(refused, status string) func(request) []string {
	return func(r request) []string {
		switch {
		case r.Execute == refused:
			return refuse("GenericError", "refused for the test")
		case strings.HasPrefix(r.Execute, "migrate") && r.Execute != "migrate-set-capabilities":
			return append(ok(), `{"event": "MIGRATION", "data": {"status": "setup"}}`, `{"event": "STOP"}`,
				`{"event": "MIGRATION", "data": {"status": "active"}}`,
				`{"event": "MIGRATION", "data": {"status": "`+status+`"}}`)
		}
		return ok()
	}
}

func TestSaveAndLoad(t *testing.T) {
	save := func(ctx context.Context, q *QMP) error { return q.Save(ctx, devNull(t)) }
	load := func(ctx context.Context, q *QMP) error { return q.Load(ctx, devNull(t)) }
	for name, tc := range map[string]struct {
		do              func(context.Context, *QMP) error
		refused, status string
		want            string
		wantErr         error
	}{
		"save":         {save, "", "completed", "migrate-set-capabilities getfd+1 migrate", nil},
		"load":         {load, "", "completed", "migrate-set-capabilities getfd+1 migrate-incoming", nil},
		"load fails":   {load, "", "failed", "migrate-set-capabilities getfd+1 migrate-incoming", ErrMigration},
		"old QEMU":     {save, "migrate-set-capabilities", "", "migrate-set-capabilities", &QMPError{}},
		"load refused": {load, "migrate-incoming", "", "migrate-set-capabilities getfd+1 migrate-incoming", &QMPError{}},
	} {
		t.Run(name, func(t *testing.T) {
			q, m := dial(t, migrationHandler(tc.refused, tc.status))
			err := tc.do(short(t), q)
			var refusal *QMPError
			switch {
			case tc.wantErr == nil && err != nil, errors.Is(tc.wantErr, ErrMigration) && !errors.Is(err, ErrMigration):
				t.Errorf("error %v, want %v", err, tc.wantErr)
			case errors.As(tc.wantErr, &refusal) && !errors.As(err, &refusal):
				t.Errorf("error %v, want QEMU's refusal", err)
			}
			if diff := cmp.Diff(tc.want, strings.Join(m.commands(), " ")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A QEMU that ends while it loads is no endless wait.
func TestLoadEnds(t *testing.T) {
	q, _ := dial(t, func(r request) []string {
		if r.Execute == "migrate-incoming" {
			return nil
		}
		return ok()
	})
	if err := q.Load(short(t), devNull(t)); !errors.Is(err, ErrQMPClosed) {
		t.Errorf("error %v", err)
	}
}

func TestWaitForPort(t *testing.T) {
	q, m := dial(t, func(request) []string { return ok() })
	m.send(t, `{"event": "VSERPORT_CHANGE", "data": {"id": "other", "open": true}}`)
	m.send(t, `{"event": "VSERPORT_CHANGE", "data": {"id": "agent0", "open": false}}`)
	ctx, cancel := context.WithCancel(short(t))
	cancel()
	if err := q.WaitForPort(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("before it is open: %v", err)
	}
	m.send(t, `{"event": "VSERPORT_CHANGE", "data": {"id": "agent0", "open": true}}`)
	if err := q.WaitForPort(short(t)); err != nil {
		t.Error(err)
	}
}
