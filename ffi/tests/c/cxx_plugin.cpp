// The C++ library that cxx_late.c loads.

#include <cstdint>
#include <memory>
#include <new>
#include <string>

namespace {
volatile std::size_t absurd = PTRDIFF_MAX;

void throw_seven()
{
    throw 7;
}

template <class Call> int caught(Call call)
{
    try {
        call();
    } catch (const std::bad_alloc &) {
        return 1;
    } catch (int) {
        return 2;
    }
    return 0;
}
} // namespace

extern "C" {

int nothrow_new_with_throwing_handler_is_null()
{
    std::set_new_handler(throw_seven);
    void *block = ::operator new(absurd, std::nothrow);
    std::set_new_handler(nullptr);
    return block == nullptr;
}

int nothrow_new_is_null()
{
    return ::operator new(absurd, std::nothrow) == nullptr;
}

int new_throws_bad_alloc()
{
    return caught([] { return ::operator new(absurd); }) == 1;
}

int new_passes_the_handlers_exception()
{
    std::set_new_handler(throw_seven);
    int what = caught([] { return ::operator new[](absurd); });
    std::set_new_handler(nullptr);
    return what == 2;
}

int aligned_new_throws_bad_alloc()
{
    return caught([] { return ::operator new(absurd, std::align_val_t(64)); }) == 1;
}

int new_works()
{
    auto text = std::make_unique<std::string>(1000, 'x');
    return text->size() == 1000;
}
}
