package main

import (
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"
)

func yields(o options) (outcome, error) {
	tasks := uint64(o.tasks)
	return repeated(o.seconds, func(n uint64) (uint64, error) {
		var begun, done atomic.Uint64
		var alone atomic.Bool
		var all sync.WaitGroup
		for range o.tasks {
			all.Add(1)
			go func() {
				defer all.Done()
				begun.Add(1)
				yielded := uint64(0)
				for ; yielded < n/tasks; yielded++ {
					runtime.Gosched()
				}
				if begun.Load() != tasks {
					alone.Store(true)
				}
				done.Add(yielded)
			}()
		}
		all.Wait()
		if err := check("whether a goroutine ran with none in between", alone.Load(), false); err != nil {
			return 0, err
		}
		return done.Load(), check("the number of yields", done.Load(), n/tasks*tasks)
	})
}

func spawnAndJoin(o options) (outcome, error) {
	return repeated(o.seconds, func(n uint64) (uint64, error) {
		batches := (n + 999) / 1000
		answers := make([]uint64, 1000)
		for range batches {
			var all sync.WaitGroup
			all.Add(len(answers))
			for index := range answers {
				go func() {
					answers[index] = uint64(index)
					all.Done()
				}()
			}
			all.Wait()
			sum := uint64(0)
			for index, answer := range answers {
				sum += answer
				answers[index] = 0
			}
			if err := check("the sum of a batch", sum, 999*500); err != nil {
				return 0, err
			}
		}
		return batches * 1000, nil
	})
}

const (
	leaves   = 1_000_000
	children = 10
	tasks    = 1_111_111
)

func skynet(options) (outcome, error) {
	start := startClocks()
	sum := make(chan uint64)
	go node(sum, 0, leaves)
	err := check("the sum of the tree", <-sum, uint64(leaves*(leaves-1)/2))
	return start.outcome(tasks), err
}

func node(result chan<- uint64, first, leaves uint64) {
	if leaves == 1 {
		result <- first
		return
	}
	below := leaves / children
	sums := make(chan uint64, children)
	for child := range uint64(children) {
		go node(sums, first+child*below, below)
	}
	sum := uint64(0)
	for range children {
		sum += <-sums
	}
	result <- sum
}

func pingPong(o options) (outcome, error) {
	return pingPongOn(o, func(int) error { return nil })
}

// Each of the two keeps a kernel thread of its own on a processor of its own.
func pingPongAcross(o options) (outcome, error) {
	cpus := allowed()
	if len(cpus) < 2 {
		return outcome{"unsupported": "this process may run on one processor only"}, nil
	}
	return pingPongOn(o, func(which int) error {
		runtime.LockOSThread()
		return pin(cpus[which])
	})
}

func pingPongOn(o options, place func(int) error) (outcome, error) {
	return repeated(o.seconds, func(n uint64) (uint64, error) {
		ping, pong := make(chan uint64, 1), make(chan uint64, 1)
		ends := make(chan error, 2)
		go func() {
			err := place(1)
			for number := range ping {
				pong <- number + 1
			}
			ends <- err
		}()
		go func() {
			err := place(0)
			for number := uint64(0); err == nil && number < n; number++ {
				ping <- number
				err = check("the answer", <-pong, number+1)
			}
			close(ping)
			ends <- err
		}()
		for range 2 {
			if err := <-ends; err != nil {
				return 0, err
			}
		}
		return n, nil
	})
}

const (
	senders  = 4
	capacity = 1024
)

func manyToOne(o options) (outcome, error) {
	return repeated(o.seconds, func(n uint64) (uint64, error) {
		messages := make(chan uint64, capacity)
		each := n / senders
		var sending sync.WaitGroup
		for sender := range uint64(senders) {
			sending.Add(1)
			go func() {
				defer sending.Done()
				for index := range each {
					messages <- sender<<48 | index
				}
			}()
		}
		go func() {
			sending.Wait()
			close(messages)
		}()
		ends := make(chan error)
		go func() { ends <- receive(messages, each) }()
		return each * senders, <-ends
	})
}

// Each sender's messages come in their order, and all that were sent.
func receive(messages <-chan uint64, each uint64) error {
	var received [senders]uint64
	var wrong error
	for message := range messages {
		sender, index := message>>48, message&(1<<48-1)
		if index != received[sender] && wrong == nil {
			wrong = check("the message of a sender", index, received[sender])
		}
		received[sender]++
	}
	for _, count := range received {
		if wrong == nil {
			wrong = check("the number of messages from a sender", count, each)
		}
	}
	return wrong
}

// The processors that this thread may run on.
func allowed() []int {
	var set [128]byte
	_, _, errno := syscall.RawSyscall(syscall.SYS_SCHED_GETAFFINITY, 0, unsafe.Sizeof(set), uintptr(unsafe.Pointer(&set)))
	if errno != 0 {
		fail(errno)
	}
	var cpus []int
	for cpu := range len(set) * 8 {
		if set[cpu/8]&(1<<(cpu%8)) != 0 {
			cpus = append(cpus, cpu)
		}
	}
	return cpus
}

func pin(cpu int) error {
	var set [128]byte
	set[cpu/8] = 1 << (cpu % 8)
	_, _, errno := syscall.RawSyscall(syscall.SYS_SCHED_SETAFFINITY, 0, unsafe.Sizeof(set), uintptr(unsafe.Pointer(&set)))
	if errno != 0 {
		return errno
	}
	return nil
}
