// A CUDA driver for tests on machines without a GPU: it knows two GPUs and every kernel but `nothing`, does no work, is as strict as
// the true one about contexts, graph capture and shared memory, and writes what it was asked to the file DRIVER_LOG.

#include <dlfcn.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace {

enum Result {
    OK = 0, INVALID_VALUE = 1, INVALID_IMAGE = 200, INVALID_CONTEXT = 201, NOT_FOUND = 500, CONTEXT_IS_DESTROYED = 709,
    CAPTURE_UNSUPPORTED = 900
};
enum CaptureMode { GLOBAL, THREAD_LOCAL, RELAXED };

struct Context {
    int device;
    bool destroyed;
};

struct Module {
    Context* context;
};

struct Function {
    Module* module;
    std::string name;
    int granted;
};

Context contexts[] = {{0}, {1}};
thread_local std::vector<Context*> current;
thread_local int capture_mode = GLOBAL;

template <class... Values>
Result log(Result result, const char* format, Values... values) {
    if (FILE* const file = fopen(getenv("DRIVER_LOG"), "a")) {
        fprintf(file, format, values...);
        fprintf(file, result ? " -> %d\n" : "\n", result);
        fclose(file);
    }
    return result;
}

}  // namespace

extern "C" {

Result cuInit(unsigned) { return OK; }

Result cuDriverGetVersion(int* version) {
    *version = 13000;
    return OK;
}

// NVRTC asks for one, and calls it unasked for an answer.
Result cuGetExportTable(const void**, const void*) { return NOT_FOUND; }

Result cuDeviceGet(int* device, int index) {
    *device = index;
    return index < 2 ? OK : INVALID_VALUE;
}

Result cuDevicePrimaryCtxRetain(Context** context, int device) {
    *context = &contexts[device];
    return log(OK, "retain %d", device);
}

Result cuDevicePrimaryCtxReset_v2(int device) {
    contexts[device].destroyed = true;
    return OK;
}

Result cuCtxPushCurrent_v2(Context* context) {
    if (context->destroyed) return CONTEXT_IS_DESTROYED;
    current.push_back(context);
    return OK;
}

Result cuCtxPopCurrent_v2(Context** context) {
    if (current.empty()) return INVALID_CONTEXT;
    *context = current.back();
    current.pop_back();
    return OK;
}

Result cuThreadExchangeStreamCaptureMode(int* mode) {
    std::swap(*mode, capture_mode);
    return OK;
}

Result cuModuleLoadData(Module** module, const char* image) {
    if (current.empty()) return INVALID_CONTEXT;
    if (capture_mode != RELAXED) return log(CAPTURE_UNSUPPORTED, "load");
    const bool is_cubin = !memcmp(image, "\x7f" "ELF", 4);
    if (!is_cubin && !strstr(image, ".version")) return log(INVALID_IMAGE, "load");
    *module = new Module{current.back()};
    return log(OK, "load %s on %d", is_cubin ? "cubin" : "ptx", current.back()->device);
}

Result cuModuleGetFunction(Function** function, Module* module, const char* name) {
    if (current.empty() || current.back() != module->context) return INVALID_CONTEXT;
    if (capture_mode != RELAXED) return log(CAPTURE_UNSUPPORTED, "get %s", name);
    if (!strcmp(name, "nothing")) return log(NOT_FOUND, "get %s", name);
    *function = new Function{module, name, 48 * 1024};
    return log(OK, "get %s", name);
}

Result cuFuncSetAttribute(Function* function, int attribute, int value) {
    if (attribute != 8 || value > 200 * 1024) return log(INVALID_VALUE, "grant %d", value);
    function->granted = value;
    return log(OK, "grant %d", value);
}

Result cuLaunchKernel(
    Function* function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y, unsigned block_z,
    unsigned shared, void* stream, void** parameters, void** extra) {
    struct Problem {
        void* values;
        long long count;
    };
    if (getenv("DRIVER_LOG") == nullptr) return OK;
    if (current.empty() || current.back() != function->module->context) return log(INVALID_CONTEXT, "launch");
    const bool valid = grid_x && block_x * block_y * block_z <= 1024 && int(shared) <= function->granted && !extra;
    const Problem& problem = *static_cast<Problem*>(parameters[0]);
    return log(
        valid ? OK : INVALID_VALUE, "launch %s (%u, %u, %u) (%u, %u, %u) shared %u stream %d device %d values %d count %lld",
        function->name.c_str(), grid_x, grid_y, grid_z, block_x, block_y, block_z, shared, int(intptr_t(stream)),
        current.back()->device, int(intptr_t(problem.values)), problem.count);
}

Result cuGetErrorName(int result, const char** name) {
    *name = result == NOT_FOUND ? "CUDA_ERROR_NOT_FOUND" : result == INVALID_VALUE ? "CUDA_ERROR_INVALID_VALUE" : "CUDA_ERROR";
    return OK;
}

Result cuGetErrorString(int, const char** words) {
    *words = "some words";
    return OK;
}

Result cuGetProcAddress_v2(const char* name, void** address, int, uint64_t, int* found) {
    void* const self = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
    *address = dlsym(self, name);
    if (!*address) *address = dlsym(self, (std::string(name) + "_v2").c_str());
    if (found) *found = *address ? 0 : 1;
    return OK;
}

}  // extern "C"
