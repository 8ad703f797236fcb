package container

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/runvm/runvm/internal/atomicfile"
)

// readRecord fills record, a pointer, from the file at path; on an error it is left alone. What names whose record it is
// in errors, which wrap fs.ErrNotExist if there is no file.
func readRecord[R any](path, what string, record *R) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read %s state: %w", what, err)
	}
	var r R
	if err := json.Unmarshal(data, &r); err != nil {
		return fmt.Errorf("%s state %s is damaged: %w", what, path, err)
	}
	*record = r
	return nil
}

// saveRecord writes a record atomically, for root alone.
func saveRecord(path, what string, record any) error {
	data, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("encode %s state: %w", what, err)
	}
	if err := atomicfile.WriteFile(path, data, 0o600); err != nil {
		return fmt.Errorf("save %s state: %w", what, err)
	}
	return nil
}
