// plugin.cc: the plug-in that surface_plugins.c loads and unloads: it allocates when it is loaded and frees when it is
// unloaded.
#include <cstring>
#include <map>
#include <string>

static std::map<int, std::string> *table = [] {
    auto *made = new std::map<int, std::string>;
    for (int i = 0; i < 100; i++)
        (*made)[i] = std::string(static_cast<size_t>(i) * 40, 'x');
    return made;
}();

static struct at_unload {
    ~at_unload() { delete table; }
} cleaner;

static thread_local std::string per_thread; // freed when its thread ends

extern "C" char *plugin_give(size_t size) {
    per_thread.assign(size, 'p');
    return static_cast<char *>(std::memcpy(::operator new(size), per_thread.data(), size));
}
extern "C" void plugin_take(char *obj) {
    ::operator delete(obj);
}
