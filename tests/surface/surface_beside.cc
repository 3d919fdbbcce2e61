// surface_beside.cc: a program with the usual operators new and delete, beside a library that has hidden ones.
#include <memory>
#include <string>
#include <vector>

extern "C" void hidden_work();

int main() {
    std::vector<std::unique_ptr<std::string>> all;
    for (int i = 0; i < 1000; i++) {
        hidden_work();
        all.push_back(std::make_unique<std::string>(i, 'x'));
    }
    return 0;
}
