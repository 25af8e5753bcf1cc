package main

import (
	"math"
	"time"
	"unsafe"

	"syscall"
)

// What was measured, by name: operations, wall_ns, cpu_ns and what else the row has.
type outcome map[string]any

// Both clocks, running.
type clocks struct {
	wall time.Time
	cpu  int64
}

func startClocks() clocks { return clocks{time.Now(), cpuTime()} }

func (c clocks) outcome(operations uint64) outcome {
	cpu := cpuTime() - c.cpu
	return outcome{"operations": operations, "wall_ns": time.Since(c.wall).Nanoseconds(), "cpu_ns": cpu}
}

// CPU time of this process so far, in nanoseconds. Package syscall has no clock_gettime.
func cpuTime() int64 {
	const processCPUTime = 2 // CLOCK_PROCESS_CPUTIME_ID
	var t syscall.Timespec
	_, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, processCPUTime, uintptr(unsafe.Pointer(&t)), 0)
	if errno != 0 {
		fail(errno)
	}
	return t.Nano()
}

// As in ../src/measure.rs: ever more operations until they take at least half the time.
func repeated(seconds float64, work func(uint64) (uint64, error)) (outcome, error) {
	const growth = 8
	for operations := uint64(1000); ; {
		start := startClocks()
		done, err := work(operations)
		if err != nil {
			return nil, err
		}
		measured := start.outcome(done)
		part := time.Since(start.wall).Seconds() / seconds
		if part >= 0.5 {
			return measured, nil
		}
		operations = uint64(float64(operations) * math.Min(1/part, growth))
	}
}
