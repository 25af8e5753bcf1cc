# Hashes of arrays, splitting, joining, sorting, regular expressions; one checksum over everything.
use strict;
use warnings;
my (%words, $state);
$state = 42;
for my $line (0 .. 60000) {
    my @parts;
    for (1 .. 6) {
        $state = ($state * 1103515245 + 12345) % 2147483648;
        push @parts, 'w' . ($state >> 16) x (1 + $state % 3);
    }
    my $text = join ' ', @parts;
    push @{ $words{$1} }, $text while $text =~ /(w\d{1,3})/g;
}
my ($sum, $count) = (0, 0);
for my $word (sort { @{ $words{$b} } <=> @{ $words{$a} } || $a cmp $b } keys %words) {
    my @sorted = sort @{ $words{$word} };
    $count += @sorted;
    $sum = ($sum * 31 + unpack('%32C*', join('|', @sorted))) % 4294967291;
}
print "$count $sum ", scalar(keys %words), "\n";
