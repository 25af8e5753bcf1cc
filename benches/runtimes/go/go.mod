module fairground/runtimes

go 1.23
