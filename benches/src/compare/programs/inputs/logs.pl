# A report from log files: lines are made, taken apart by regular expressions, counted in nested hashes, sorted and joined.
# The argument is the number of lines; the answer is the report's checksum and its first lines.
use strict;
use warnings;

my $lines = shift;
my (%by_host, %by_path, @slow);
my $state = 12345;
for my $number (1 .. $lines) {
    $state = ($state * 1103515245 + 12345) % 2147483648;
    my $line = sprintf "10.0.%d.%d - user%d [%05d] \"GET /section%d/page%d.html?q=%s HTTP/1.1\" %d %d",
        $state % 13, ($state >> 8) % 250, ($state >> 4) % 501, $number, $state % 17, ($state >> 6) % 901,
        "x" x ($state % 60), 200 + $state % 5 * 50, ($state >> 3) % 100000;
    my ($host, $user, $path, $query, $status, $bytes) =
        $line =~ m{^(\S+) - (\w+) \[\d+\] "GET (/[^?]*)\?q=(\w*) HTTP/1\.1" (\d+) (\d+)$} or die "line $number: $line";
    $by_host{$host}{$user}{$status} += $bytes;
    push @{$by_path{$path}}, [$bytes, $user, $query];
    if ($bytes > 95000) {
        push @slow, {line => $line, fields => [split m{[ /.?]+}, $line]};
        splice @slow, 0, 500 if @slow > 1000;
    }
    %by_host = () if $number % 20000 == 0;
}
my @report;
for my $path (sort {@{$by_path{$b}} <=> @{$by_path{$a}} || $a cmp $b} keys %by_path) {
    my @visits = sort {$b->[0] <=> $a->[0] || $a->[1] cmp $b->[1]} @{$by_path{$path}};
    push @report, join ' ', $path, scalar @visits, map {"$_->[1]=$_->[0]"} @visits[0 .. ($#visits < 2 ? $#visits : 2)];
}
push @report, join '|', map {@{$_->{fields}}} @slow;
for my $host (sort keys %by_host) {
    my $users = $by_host{$host};
    my @once = grep {keys %{$users->{$_}} == 1} sort keys %$users;
    push @report, join ' ', $host, map {"$_:" . join ',', keys %{$users->{$_}}} @once;
}
my $text = join "\n", @report;
print unpack('%32C*', $text), ' ', length $text, "\n", join("\n", @report[0 .. 4]), "\n";
