// Deep and wide template instantiation for the compiler; containers, exceptions, threads and aligned news for the
// program it becomes. INSTANCES says how many times the large templates are instantiated.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <list>
#include <map>
#include <memory>
#include <new>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#ifndef INSTANCES
#define INSTANCES 5
#endif

template <unsigned N> struct Sum {
    static constexpr unsigned long long value = N + Sum<N - 1>::value;
};
template <> struct Sum<0> {
    static constexpr unsigned long long value = 0;
};

template <int N> struct alignas(64) Wide {
    std::array<std::uint64_t, 8 + N % 3> words{};
    explicit Wide(std::uint64_t seed) {
        for (auto &word : words) word = seed = seed * 6364136223846793005u + N;
    }
    std::uint64_t mix() const {
        std::uint64_t result = reinterpret_cast<std::uintptr_t>(this) % 64;
        for (auto word : words) result = result * 31 + word;
        return result;
    }
};

template <int N> std::uint64_t exercise(std::uint64_t seed) {
    std::map<std::string, std::vector<std::unique_ptr<Wide<N>>>> table;
    std::list<std::set<std::pair<int, std::string>>> lists;
    std::unordered_map<std::uint64_t, std::shared_ptr<std::string>> shared;
    std::uint64_t result = N;
    for (int i = 0; i < 400; ++i) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        const auto key = std::to_string(seed % 61) + std::string(seed % 40, 'k');
        table[key].push_back(std::make_unique<Wide<N>>(seed));
        if (i % 7 == 0) lists.emplace_back();
        lists.back().emplace(i % 13, key + key);
        shared[seed % 97] = std::make_shared<std::string>(seed % 3000, static_cast<char>('a' + seed % 26));
        try {
            if (i % 11 == 0) throw std::runtime_error(key);
        } catch (const std::exception &error) {
            result = result * 33 + std::string(error.what()).size();
        }
        if (i % 5 == 0) table.erase(table.begin());
    }
    for (const auto &[key, list] : table)
        for (const auto &wide : list) result = result * 37 + key.size() + wide->mix();
    for (const auto &set : lists)
        for (const auto &[number, text] : set) result = result * 41 + number + text.size();
    for (std::uint64_t i = 0; i < 97; ++i)
        if (auto found = shared.find(i); found != shared.end()) result = result * 43 + found->second->size() + found->second->back();
    return result;
}

template <int... N> std::vector<std::uint64_t> exercise_all(std::uint64_t seed, std::integer_sequence<int, N...>) {
    return {exercise<N>(seed)...};
}

int main() {
    std::array<std::vector<std::uint64_t>, 4> results;
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < results.size(); ++i)
        threads.emplace_back([&results, i] { results[i] = exercise_all(i, std::make_integer_sequence<int, INSTANCES>{}); });
    for (auto &thread : threads) thread.join();
    std::ostringstream text;
    for (const auto &list : results)
        for (auto value : list) text << value << '\n';
    text << Sum<400>::value << '\n';
    std::fputs(text.str().c_str(), stdout);
}
