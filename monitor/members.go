package monitor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/runvm/runvm/sandbox"
)

// guest is what members need of the sandbox.
type guest interface {
	Share(dir string, m sandbox.Mount, detached *os.File) error
	PlugDisk(ctx context.Context, id string, d sandbox.Disk, f *os.File) error
	UnplugDisks(ctx context.Context, id string) error
	Unshare(dir string) error
	RemoveContainer(ctx context.Context, id string) error
}

// member is a container of the sandbox, from create's join until nothing of it is left in the sandbox.
type member struct {
	id, dir  string
	users    int // connections that keep it: create's hold and the shim's lifeline
	lifeline net.Conn
	gone     chan struct{} // closed when the sandbox has let go of it
}

func (m *member) closeLifeline() {
	if m.lifeline != nil {
		_ = m.lifeline.Close()
	}
}

// join makes c the hold of a new member and serves it.
func (m *monitor) join(c *net.UnixConn, id, dir string) {
	defer c.Close()
	member, err := m.enter(id, dir)
	if err != nil {
		_ = answer(c, err)
		return
	}
	defer m.leave(member)
	if answer(c, nil) != nil {
		return
	}
	for {
		item, file, err := readItem(c)
		if err != nil {
			return
		}
		err = m.admit(member, item, file)
		_ = file.Close()
		if answer(c, err) != nil {
			return
		}
	}
}

// admit takes what a container brings into the sandbox.
func (m *monitor) admit(to *member, i item, f *os.File) error {
	switch {
	case i.Mount != nil:
		return m.guest.Share(to.dir, *i.Mount, f)
	case i.Disk != nil:
		ctx, cancel := context.WithTimeout(context.Background(), networkTimeout)
		defer cancel()
		return m.guest.PlugDisk(ctx, to.id, *i.Disk, f)
	default:
		return errors.New("a container brings nothing that is known")
	}
}

// enter makes a new member with one user. It waits for the end of a former member of the same id. ErrEnding: the sandbox
// takes no more.
func (m *monitor) enter(id, dir string) (*member, error) {
	for {
		m.mu.Lock()
		former, taken := m.members[id]
		switch {
		case m.ended:
			m.mu.Unlock()
			return nil, ErrEnding
		case taken && former.users > 0:
			m.mu.Unlock()
			return nil, fmt.Errorf("container %q is in the sandbox already", id)
		case !taken:
			defer m.mu.Unlock()
			member := &member{id: id, dir: dir, users: 1, gone: make(chan struct{})}
			m.members[id] = member
			return member, nil
		}
		m.mu.Unlock()
		select {
		case <-former.gone:
		case <-m.idle:
		}
	}
}

// attach holds a container's lifeline until the other side closes it.
func (m *monitor) attach(c net.Conn, id string) {
	member, err := m.take(c, id)
	_ = answer(c, err)
	if err != nil {
		_ = c.Close()
		return
	}
	_, _ = io.Copy(io.Discard, c)
	m.leave(member)
}

// take makes c the lifeline of a member that has none.
func (m *monitor) take(c net.Conn, id string) (*member, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	member := m.members[id]
	switch {
	case member == nil || member.users == 0:
		return nil, fmt.Errorf("container %q has not joined the sandbox", id)
	case member.lifeline != nil:
		return nil, fmt.Errorf("container %q is attached already", id)
	}
	member.lifeline = c
	member.users++
	return member, nil
}

// leaveTimeout bounds what the guest may take, in all, to let go of a container: less than others wait for the monitor.
const leaveTimeout = 10 * time.Second

// leave takes one user away from a member. With the last user of all members the sandbox ends; the lifeline then stays
// open until that has come about. A member that leaves others behind is removed alone.
func (m *monitor) leave(member *member) {
	m.mu.Lock()
	member.users--
	left := member.users
	idle := m.endIfIdle()
	m.mu.Unlock()
	if left > 0 || idle {
		return
	}
	// The guest may be hostile: whatever it answers, and when, the host's side of the share goes.
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	guestErr := m.guest.RemoveContainer(ctx, member.id)
	diskErr := m.guest.UnplugDisks(ctx, member.id)
	hostErr := m.guest.Unshare(member.dir)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ended {
		return
	}
	if err := errors.Join(guestErr, diskErr, hostErr); err != nil {
		m.log.Warnf("container %s: %v", member.id, err)
	}
	delete(m.members, member.id)
	close(member.gone)
	member.closeLifeline()
}

// remove answers when nothing is left of a container.
func (m *monitor) remove(c net.Conn, id string) {
	defer c.Close()
	m.mu.Lock()
	member := m.members[id]
	m.mu.Unlock()
	if member != nil {
		select {
		case <-member.gone:
		case <-m.stopped:
		}
	}
	_ = answer(c, nil)
}

// ifIdle ends a sandbox that has no container.
func (m *monitor) ifIdle() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.endIfIdle()
}

// endIfIdle ends the sandbox if nobody uses it, and says whether it ends. The caller holds the mutex.
func (m *monitor) endIfIdle() bool {
	users := 0
	for _, member := range m.members {
		users += member.users
	}
	if users == 0 {
		m.end()
	}
	return m.ended
}

// end makes wait return. The caller holds the mutex.
func (m *monitor) end() {
	if !m.ended {
		m.ended = true
		close(m.idle)
	}
}
