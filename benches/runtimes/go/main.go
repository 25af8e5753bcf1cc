// The rows of the runtime comparison on Go's goroutines: the same command line, the same work, the same checks and the same
// line of JSON as the programs in ../src/bin, whose library says what a row is and how it is measured.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
)

type options struct {
	workers     int
	tasks       int
	seconds     float64
	sliceMs     int64
	connections int
	load        string
}

func main() {
	if len(os.Args) < 2 {
		fail(errors.New("usage: runtime-go ROW [--workers N] [--tasks N] [--seconds S] [--slice-ms MS] [--connections N] [--load PROGRAM]"))
	}
	row, o := os.Args[1], options{}
	flags := flag.NewFlagSet(row, flag.ExitOnError)
	flags.IntVar(&o.workers, "workers", 2, "GOMAXPROCS")
	flags.IntVar(&o.tasks, "tasks", 4, "goroutines of the rows that take a number of them")
	flags.Float64Var(&o.seconds, "seconds", 1, "about how long the measured part is to take")
	flags.Int64Var(&o.sliceMs, "slice-ms", 0, "hogs yield after so many milliseconds")
	flags.IntVar(&o.connections, "connections", 64, "connections of the row echo")
	flags.StringVar(&o.load, "load", "", "the load generator of the row echo")
	_ = flags.Parse(os.Args[2:])
	runtime.GOMAXPROCS(o.workers)
	rows := map[string]func(options) (outcome, error){
		"yield": yields, "spawn": spawnAndJoin, "skynet": skynet, "ping-pong": pingPong, "ping-pong-across": pingPongAcross,
		"mpsc": manyToOne, "parked": parked, "echo": echo, "hog": hogs,
	}
	run, known := rows[row]
	if !known {
		fail(fmt.Errorf("no row '%s'", row))
	}
	measured, err := run(o)
	if err != nil {
		fail(err)
	}
	printLine(measured)
}

func printLine(measured outcome) {
	line, err := json.Marshal(measured)
	if err != nil {
		fail(err)
	}
	fmt.Println(string(line))
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// An error unless the answer is the expected one.
func check[T comparable](what string, answer, expected T) error {
	if answer == expected {
		return nil
	}
	return fmt.Errorf("wrong answer: %s is %v, not %v", what, answer, expected)
}
