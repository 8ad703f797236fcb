package agent

import (
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/runvm/runvm/agent/executor"
	"github.com/runvm/runvm/agent/process"
	"github.com/runvm/runvm/agentproto"
)

// maxEnded bounds how many processes of a container are remembered after their end, besides its init: a container
// whose health is checked every few seconds for months must not fill the guest's memory.
const maxEnded = 1024

// registry holds the containers by id. The zero value is empty.
type registry struct {
	mu   sync.Mutex
	byID map[string]*container
}

// container is a container with its processes. A nil Container is one that is being created or deleted.
type container struct {
	*executor.Container
	processes map[string]*process.Process // by exec id; nil while one is being started
	ended     []string                    // exec ids in the order of their ends
	release   func()                      // gives back what it shares with other containers
}

// claim reserves the id of a new container.
func (r *registry) claim(id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.byID[id]; ok {
		return status.Error(codes.AlreadyExists, executor.ErrExist.Error())
	}
	if r.byID == nil {
		r.byID = make(map[string]*container)
	}
	r.byID[id] = &container{processes: make(map[string]*process.Process)}
	return nil
}

// set completes a claim.
func (r *registry) set(id string, c *executor.Container, release func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byID[id].Container, r.byID[id].release = c, release
}

// remove forgets a container or a claim, and closes what nobody reads of its processes.
func (r *registry) remove(id string) {
	r.mu.Lock()
	c := r.byID[id]
	delete(r.byID, id)
	r.mu.Unlock()
	if c == nil {
		return
	}
	for _, p := range c.processes {
		if p != nil {
			p.Close()
		}
	}
	if c.Container != nil {
		c.Init.Close()
	}
	if c.release != nil {
		c.release()
	}
}

// get returns a container, or a NotFound with runc's words.
func (r *registry) get(id string) (*executor.Container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.byID[id]
	if !ok || c.Container == nil {
		return nil, noContainer(id)
	}
	return c.Container, nil
}

func noContainer(id string) error {
	return status.Errorf(codes.NotFound, "container %q does not exist", id)
}

func noProcess(p *agentproto.Process) error {
	return status.Errorf(codes.NotFound, "process %q of container %q does not exist", p.GetExecId(), p.GetContainerId())
}

// process returns a process that was started.
func (r *registry) process(p *agentproto.Process) (*process.Process, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.byID[p.GetContainerId()]
	if !ok {
		return nil, noContainer(p.GetContainerId())
	}
	if p.GetExecId() == "" && c.Container != nil {
		return c.Init, nil
	}
	if found := c.processes[p.GetExecId()]; found != nil {
		return found, nil
	}
	return nil, noProcess(p)
}

// claimProcess reserves the id of a further process.
func (r *registry) claimProcess(id, execID string) (*executor.Container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.byID[id]
	if !ok || c.Container == nil {
		return nil, noContainer(id)
	}
	if execID == "" {
		return nil, status.Error(codes.InvalidArgument, "exec id is empty")
	}
	if _, ok := c.processes[execID]; ok {
		return nil, status.Errorf(codes.AlreadyExists, "process %q of container %q exists", execID, id)
	}
	c.processes[execID] = nil
	return c.Container, nil
}

// setProcess completes claimProcess; a nil p gives the id back.
func (r *registry) setProcess(id, execID string, p *process.Process) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.byID[id]
	switch {
	case c == nil && p != nil: // deleted meanwhile
		p.Close()
	case c == nil:
	case p == nil:
		delete(c.processes, execID)
	default:
		c.processes[execID] = p
		go r.retire(id, execID, p)
	}
}

// retire forgets the oldest ended process when there are too many.
func (r *registry) retire(id, execID string, p *process.Process) {
	<-p.Done()
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.byID[id]
	if c == nil || c.processes[execID] != p {
		return
	}
	c.ended = append(c.ended, execID)
	if len(c.ended) > maxEnded {
		c.processes[c.ended[0]].Close()
		delete(c.processes, c.ended[0])
		c.ended = append(c.ended[:0:0], c.ended[1:]...)
	}
}
