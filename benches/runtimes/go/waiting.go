package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

func parked(o options) (outcome, error) {
	const settle = 300 * time.Millisecond // between saying that one is about to wait and waiting
	var begun, ended atomic.Int64
	gate := make(chan struct{})
	wait := func(count *atomic.Int64) {
		for count.Load() < int64(o.tasks) {
			time.Sleep(5 * time.Millisecond)
		}
	}
	start := startClocks()
	resident, pageTables := memory()
	for range o.tasks {
		go func() {
			begun.Add(1)
			<-gate
			ended.Add(1)
		}()
	}
	wait(&begun)
	time.Sleep(settle)
	if ended.Load() != 0 {
		return nil, fmt.Errorf("wrong answer: goroutines went on that nobody had let go")
	}
	residentThen, pageTablesThen := memory()
	close(gate)
	wait(&ended)
	measured := start.outcome(uint64(o.tasks))
	measured["resident_bytes"] = float64(residentThen-resident) / float64(o.tasks)
	measured["page_table_bytes"] = float64(pageTablesThen-pageTables) / float64(o.tasks)
	return measured, nil
}

// Bytes that this process has resident, and bytes of page tables that it takes.
func memory() (resident, pageTables int64) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		fail(err)
	}
	bytes := func(name string) int64 {
		for _, line := range strings.Split(string(status), "\n") {
			if rest, found := strings.CutPrefix(line, name); found {
				kib, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(rest, " kB")), 10, 64)
				return kib << 10
			}
		}
		return 0
	}
	return bytes("VmRSS:"), bytes("VmPTE:")
}

// The server; the load generator is a process of its own, whose end is this one's.
func echo(o options) (outcome, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go answer(connection)
		}
	}()
	load := o.load
	if load == "" {
		program, err := os.Executable()
		if err != nil {
			return nil, err
		}
		load = filepath.Join(filepath.Dir(program), "echo-load")
	}
	seconds := strconv.FormatFloat(o.seconds, 'f', -1, 64)
	command := exec.Command(load, listener.Addr().String(), strconv.Itoa(o.connections), seconds)
	command.Stderr = os.Stderr
	start := startClocks()
	output, err := command.Output()
	measured := start.outcome(0)
	if err != nil {
		return nil, fmt.Errorf("the load generator failed: %w", err)
	}
	figures := outcome{}
	if err := json.Unmarshal(output, &figures); err != nil {
		return nil, fmt.Errorf("the load generator says: %s", output)
	}
	for name, value := range figures {
		measured[name] = value
	}
	measured["operations"] = figures["requests"]
	return measured, nil
}

func answer(connection net.Conn) {
	buffer := make([]byte, 4096)
	for {
		length, err := connection.Read(buffer)
		if err == io.EOF || err != nil {
			return
		}
		if _, err := connection.Write(buffer[:length]); err != nil {
			return
		}
	}
}

// How late a goroutine runs that wants to run every millisecond; as in ../src/hog.rs.
func hogs(o options) (outcome, error) {
	const period = time.Millisecond
	start := startClocks()
	var late []float64
	woken := uint64(0)
	slept := make(chan struct{})
	go func() {
		begin, next := time.Now(), time.Duration(1)
		count := time.Duration(o.seconds * float64(time.Second) / float64(period))
		for next <= count {
			time.Sleep(next*period - time.Since(begin))
			now := time.Since(begin)
			woken++
			for ; next <= count && next*period <= now; next++ {
				late = append(late, (now-next*period).Seconds()*1e6)
			}
		}
		close(slept)
	}()
	time.Sleep(5 * time.Millisecond)
	end := time.Now().Add(time.Duration(o.seconds * float64(time.Second)))
	slice := time.Duration(math.MaxInt64)
	if o.sliceMs > 0 {
		slice = time.Duration(o.sliceMs) * time.Millisecond
	}
	var all sync.WaitGroup
	for range 8 {
		all.Add(1)
		go func() {
			defer all.Done()
			for compute(end, slice) {
				runtime.Gosched()
			}
		}()
	}
	all.Wait()
	<-slept
	sort.Float64s(late)
	us := func(part float64) float64 { return late[max(1, int(math.Ceil(float64(len(late))*part)))-1] }
	measured := start.outcome(woken)
	measured["p50_us"], measured["p99_us"], measured["max_us"], measured["woken"] = us(0.5), us(0.99), us(1), woken
	return measured, nil
}

var sink atomic.Uint64

// Computes for one slice; whether there is more to do.
func compute(end time.Time, slice time.Duration) bool {
	begin, x := time.Now(), uint64(1)
	for {
		for range 1000 {
			x = x*6364136223846793005 + 1
		}
		now := time.Now()
		if !now.Before(end) {
			sink.Store(x)
			return false
		}
		if now.Sub(begin) >= slice {
			sink.Store(x)
			return true
		}
	}
}
