# Associative arrays and string building in the shell itself, and 400 forks that each bring back a number.
declare -A table
sum=0
for ((i = 0; i < 40000; i++)); do
    key="key-$((i * 7919 % 5003))"
    table[$key]+="$i,"
    ((${#table[$key]} > 200)) && unset "table[$key]"
done
for key in "${!table[@]}"; do
    ((sum += ${#table[$key]}))
done
for ((i = 0; i < 400; i++)); do
    part=$(echo $((i * i)))
    ((sum += part))
done
echo "$sum"
