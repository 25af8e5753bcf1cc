// Many instantiations of the standard library's larger templates: a compiler's memory at work.
#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

template <int N> struct Tag {
    int value = N;
    bool operator<(const Tag &other) const { return value < other.value; }
};

template <int N> long use_containers() {
    std::map<Tag<N>, std::vector<std::pair<std::string, Tag<N + 1>>>> table;
    for (int i = 0; i < N; ++i) {
        Tag<N> key;
        key.value = i;
        table[key].emplace_back(std::to_string(i), Tag<N + 1>{});
    }
    std::unordered_map<std::string, std::variant<int, std::string, Tag<N>>> variants;
    for (auto &[key, list] : table)
        for (auto &[text, tag] : list) variants[text] = tag.value % 2 ? std::variant<int, std::string, Tag<N>>(text) : key;
    std::vector<std::shared_ptr<std::function<long(long)>>> functions;
    for (auto &entry : variants)
        functions.push_back(std::make_shared<std::function<long(long)>>(
            [index = entry.second.index()](long x) { return x + static_cast<long>(index) + N; }));
    return std::accumulate(functions.begin(), functions.end(), 0L, [](long sum, const auto &f) { return (*f)(sum); });
}

template <typename... Types> auto reversed(std::tuple<Types...> tuple) {
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
        return std::make_tuple(std::get<sizeof...(Types) - 1 - I>(tuple)...);
    }(std::make_index_sequence<sizeof...(Types)>{});
}

template <int... N> long use_all(std::integer_sequence<int, N...>) { return (use_containers<N>() + ...); }

int main() {
    auto tuple = reversed(std::make_tuple(1, 2.0, std::string("three"), Tag<4>{}));
    return static_cast<int>((use_all(std::make_integer_sequence<int, 2>{}) + std::get<3>(tuple)) % 100);
}
