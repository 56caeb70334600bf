package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	// What one broken input may cost.
	mostMemory = 64 << 20
	mostCPU    = 100 * time.Millisecond
	// A program that hangs is ended then.
	patience = 10 * time.Second
)

// worst is the most that any input has cost, and which.
type worst struct {
	cpu          time.Duration
	memory       int64
	slow, large  string
	inputs, died int
}

// limits runs `PROGRAM inspect FILE -o json` for every file below a folder, and for as many of their mutations as asked for.
func limits(program, folder string, mutations int) error {
	var files []string
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			files = append(files, path)
		}
		return err
	})
	if err != nil || len(files) == 0 {
		return fmt.Errorf("%s: no file (%v)", folder, err)
	}
	var seen worst
	for _, file := range files {
		if err := seen.run(program, file, file); err != nil {
			return err
		}
	}
	// The same mutations in every run: what is found can be looked at again.
	random := rand.New(rand.NewPCG(7, uint64(mutations)))
	broken := filepath.Join(os.TempDir(), fmt.Sprintf("malformed-%d", os.Getpid()))
	defer os.Remove(broken)
	for number := range mutations {
		file := files[number%len(files)]
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := os.WriteFile(broken, mutated(text, random), 0o600); err != nil {
			return err
		}
		if err := seen.run(program, broken, fmt.Sprintf("mutation %d of %s", number, file)); err != nil {
			return err
		}
	}
	fmt.Printf("%d inputs: at most %.1f ms CPU (%s), at most %.1f MiB (%s), %d not survived\n", seen.inputs,
		float64(seen.cpu.Microseconds())/1000, filepath.Base(seen.slow), float64(seen.memory)/(1<<20), filepath.Base(seen.large), seen.died)
	if seen.cpu > mostCPU || seen.memory > mostMemory || seen.died > 0 {
		return fmt.Errorf("more than %v or %d MiB, or an input was not survived", mostCPU, mostMemory>>20)
	}
	return nil
}

func (seen *worst) run(program, path, name string) error {
	command := exec.Command(program, "inspect", path, "-o", "json")
	var said bytes.Buffer
	command.Stderr = &said
	if err := command.Start(); err != nil {
		return err
	}
	hung := time.AfterFunc(patience, func() { _ = command.Process.Kill() })
	_ = command.Wait()
	hung.Stop()
	seen.inputs++
	state := command.ProcessState
	// A panic aborts; an error that is told is what is wanted.
	if state.ExitCode() < 0 || state.ExitCode() > 1 || strings.Contains(said.String(), "panicked") {
		seen.died++
		fmt.Fprintf(os.Stderr, "%s: %v: %s\n", name, state, said.String())
	}
	if cpu := state.UserTime() + state.SystemTime(); cpu > seen.cpu {
		seen.cpu, seen.slow = cpu, name
	}
	if usage, ok := state.SysUsage().(*syscall.Rusage); ok && usage.Maxrss<<10 > seen.memory {
		seen.memory, seen.large = usage.Maxrss<<10, name
	}
	return nil
}

// mutated breaks a text in one of the ways in which files break, or are broken.
func mutated(text []byte, random *rand.Rand) []byte {
	text = bytes.Clone(text)
	if len(text) == 0 {
		return []byte{0}
	}
	at := random.IntN(len(text))
	switch random.IntN(6) {
	case 0: // cut off
		return text[:at]
	case 1: // one bit
		text[at] ^= 1 << random.IntN(8)
		return text
	case 2: // a piece twice
		end := at + random.IntN(len(text)-at)
		return append(text[:end:end], text[at:]...)
	case 3: // a piece lost
		end := at + random.IntN(len(text)-at)
		return append(text[:at:at], text[end:]...)
	case 4: // a piece of noise
		for i := at; i < len(text) && i < at+16; i++ {
			text[i] = byte(random.Uint32())
		}
		return text
	default: // a length that promises more than there is
		return append(append(text[:at:at], 0x30, 0x84, 0xff, 0xff, 0xff, 0xff), text[at:]...)
	}
}
