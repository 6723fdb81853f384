// The kernels of gpu.py. One thread computes one number of the result and reads all its inputs, so
// no two threads write to the same place: no atomics, and results repeat bit for bit.
//
// `count`, the first argument of each, is the number of threads that have work to do. Arrays are
// contiguous, images channels last (N, H, W, C). T is the type of the numbers, Word the type that
// im2col copies at once: both are set by gpu.py (float and float4, say). Indices are 32 bits wide,
// since dividing 64-bit integers is slow; gpu.py leaves larger arrays to the reference.

typedef REAL T;     // of the numbers: float or double, set by gpu.py
typedef WORD Word;  // the unit that im2col copies: float4, say

// t is this thread's number; threads beyond `count` have no work.
#define ONE_OF(count)                                    \
    int t = (int)(blockIdx.x * blockDim.x + threadIdx.x); \
    if (t >= (count)) return;

extern "C" {

// patches.im2col: x (N, H, W, C) -> patches (N, OH, OW, k, k, C), zeros in the padding.
// A thread for each Word of `patches`; C counts Words.
__global__ void im2col(int count, const Word* x, Word* patches, int H, int W, int C, int OH,
                       int OW, int k, int stride, int padding) {
    ONE_OF(count)
    int c = t % C, rest = t / C;
    int j = rest % k;
    rest /= k;
    int i = rest % k;
    rest /= k;
    int ow = rest % OW;
    rest /= OW;
    int oh = rest % OH, n = rest / OH;
    int h = oh * stride + i - padding, w = ow * stride + j - padding;
    Word word = Word();
    if (h >= 0 && h < H && w >= 0 && w < W) word = x[((n * H + h) * W + w) * C + c];
    patches[t] = word;
}

// patches.col2im: patches (N, OH, OW, k, k, C) -> images (N, H, W, C).
// A thread for each number of an image adds up the errors of the patches that hold it, in order.
__global__ void col2im(int count, const T* patches, T* images, int H, int W, int C, int OH, int OW,
                       int k, int stride, int padding) {
    ONE_OF(count)
    int c = t % C, rest = t / C;
    int w = rest % W;
    rest /= W;
    int h = rest % H, n = rest / H;
    T sum = 0;
    for (int i = 0; i < k; i++) {
        int down = h + padding - i, oh = down / stride;
        if (down < 0 || down % stride != 0 || oh >= OH) continue;
        for (int j = 0; j < k; j++) {
            int across = w + padding - j, ow = across / stride;
            if (across < 0 || across % stride != 0 || ow >= OW) continue;
            sum += patches[((((n * OH + oh) * OW + ow) * k + i) * k + j) * C + c];
        }
    }
    images[t] = sum;
}

// sum of x - p, and of (x - p)(z - q), for each channel of x and z (rows, C); p and q are (C,).
// A thread for each of `parts` shares of the rows and each channel; neighboring threads read
// neighboring numbers. Writes sums (2, parts, C).
__global__ void column_sums(int count, const T* x, const T* z, const T* p, const T* q, T* sums,
                            int rows, int C, int parts) {
    ONE_OF(count)
    int c = t % C;
    T first = 0, second = 0;
    for (int row = t / C; row < rows; row += parts) {
        T value = x[(long long)row * C + c] - p[c];
        first += value;
        second += value * (z[(long long)row * C + c] - q[c]);
    }
    sums[t] = first;
    sums[count + t] = second;
}

// The sum of channel c over all parts of `sums` (parts, C).
static __device__ T added(const T* sums, int parts, int C, int c) {
    T total = 0;
#pragma unroll 16
    for (int part = 0; part < parts; part++) total += sums[part * C + c];
    return total;
}

// means (C,) = sums / n, from the first half of column_sums. A thread for each channel.
__global__ void column_means(int count, const T* sums, int parts, T* means, T n) {
    ONE_OF(count)
    means[t] = added(sums, parts, count, t) / n;
}

// BatchNorm.forward in training: from column_sums of x - near and of (x - near)^2, mean and
// variance of each channel over n numbers; `near` is almost the mean. Moves the running averages,
// and writes to found (3, C): mean, 1 / std, and gamma / std. A thread for each channel.
__global__ void norm_statistics(int count, const T* sums, int parts, const T* near, const T* gamma,
                                T* running_mean, T* running_var, T* found, T n, T unbiased,
                                T momentum, T eps) {
    ONE_OF(count)
    T rest = added(sums, parts, count, t) / n;
    T squares = added(sums + parts * count, parts, count, t) / n;
    T mean = near[t] + rest, var = squares - rest * rest;
    running_mean[t] += momentum * (mean - running_mean[t]);
    running_var[t] += momentum * (var * unbiased - running_var[t]);
    T inv_std = 1 / sqrt(var + eps);
    found[t] = mean;
    found[count + t] = inv_std;
    found[2 * count + t] = gamma[t] * inv_std;
}

// BatchNorm.backward in training: from column_sums of delta and of delta (x - mean), the gradients
// of gamma and beta, and a, b, c of the error a delta + b (x - mean) + c. Writes these to
// found (5, C). A thread for each channel.
__global__ void norm_error(int count, const T* sums, int parts, const T* gain, const T* inv_std,
                           T* found, T n) {
    ONE_OF(count)
    T of_delta = added(sums, parts, count, t);
    T gradient = inv_std[t] * added(sums + parts * count, parts, count, t);
    T a = gain[t] * inv_std[t];
    found[t] = gradient;
    found[count + t] = of_delta;
    found[2 * count + t] = a;
    found[3 * count + t] = -a * inv_std[t] * gradient / n;
    found[4 * count + t] = -a * of_delta / n;
}

// y = a x + b (z - q) + c, the coefficients and q (C,), everything else (count / C, C).
__global__ void affine(int count, const T* x, const T* z, const T* q, const T* a, const T* b,
                       const T* c, T* y, int C) {
    ONE_OF(count)
    int i = t % C;
    y[t] = a[i] * x[t] + (b[i] * (z[t] - q[i]) + c[i]);
}

// ReLU.backward: the error where sigma is above zero.
__global__ void relu_backward(int count, const T* sigma, const T* error, T* delta) {
    ONE_OF(count)
    delta[t] = error[t] * (T)(sigma[t] > 0);
}

// MaxPool2d.forward: the largest number of each window, and its position (the first, on a tie).
// A thread for each number of y (N, OH, OW, C). NaN counts as the largest, as in NumPy.
__global__ void pool_forward(int count, const T* x, T* y, unsigned char* winner, int H, int W, int C,
                             int OH, int OW, int k, int stride, int padding) {
    ONE_OF(count)
    int c = t % C, rest = t / C;
    int ow = rest % OW;
    rest /= OW;
    int oh = rest % OH, n = rest / OH;
    T largest = 0;
    int position = -1;
    for (int i = 0; i < k; i++) {
        int h = oh * stride + i - padding;
        if (h < 0 || h >= H) continue;
        for (int j = 0; j < k; j++) {
            int w = ow * stride + j - padding;
            if (w < 0 || w >= W) continue;
            T value = x[((n * H + h) * W + w) * C + c];
            if (position < 0 || value > largest || (value != value && largest == largest)) {
                largest = value;
                position = i * k + j;
            }
        }
    }
    y[t] = largest;
    winner[t] = (unsigned char)position;
}

// MaxPool2d.backward: every pixel sums the errors of the windows whose largest it is.
__global__ void pool_backward(int count, const T* delta, const unsigned char* winner, T* error,
                              int H, int W, int C, int OH, int OW, int k, int stride,
                              int padding) {
    ONE_OF(count)
    int c = t % C, rest = t / C;
    int w = rest % W;
    rest /= W;
    int h = rest % H, n = rest / H;
    T sum = 0;
    for (int i = 0; i < k; i++) {
        int down = h + padding - i, oh = down / stride;
        if (down < 0 || down % stride != 0 || oh >= OH) continue;
        for (int j = 0; j < k; j++) {
            int across = w + padding - j, ow = across / stride;
            if (across < 0 || across % stride != 0 || ow >= OW) continue;
            int window = ((n * OH + oh) * OW + ow) * C + c;
            if (winner[window] == i * k + j) sum += delta[window];
        }
    }
    error[t] = sum;
}

// softmax_cross_entropy: the loss of each sample, and delta (N, classes). A thread for each sample.
__global__ void softmax_cross_entropy(int count, const T* logits, const long long* labels,
                                      T* losses, T* delta, int classes) {
    ONE_OF(count)
    const T* row = logits + t * classes;
    T largest = row[0], sum = 0;
    for (int j = 1; j < classes; j++)
        if (row[j] > largest || row[j] != row[j]) largest = row[j];
    for (int j = 0; j < classes; j++) sum += exp(row[j] - largest);
    for (int j = 0; j < classes; j++) {
        T share = exp(row[j] - largest) / sum;
        delta[t * classes + j] = (share - (T)(j == labels[t])) / count;
    }
    losses[t] = log(sum) - (row[labels[t]] - largest);
}

// The optimizers treat all parameters as one long vector, although each has memory of its own:
// `starts` (parameters + 1) holds where each begins in the vector, `places` the addresses of its
// arrays. This function finds the parameter that number t of the vector belongs to.
static __device__ int parameter_of(int t, const int* starts, int parameters) {
    int low = 0, high = parameters;
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (starts[middle] <= t) low = middle;
        else high = middle;
    }
    return low;
}

// SGD.step; places: (parameters, 3) addresses of w, gradient, velocity.
__global__ void sgd(int count, const long long* places, const int* starts, int parameters, T lr,
                    T momentum, T decay) {
    ONE_OF(count)
    int which = parameter_of(t, starts, parameters), i = t - starts[which];
    T* w = (T*)places[3 * which];
    const T* gradient = (const T*)places[3 * which + 1];
    T* velocity = (T*)places[3 * which + 2];
    T v = momentum * velocity[i] + (gradient[i] + decay * w[i]);
    velocity[i] = v;
    w[i] -= lr * v;
}

// Adam.step; places: (parameters, 4) addresses of w, gradient and the running means m, v.
__global__ void adam(int count, const long long* places, const int* starts, int parameters,
                     T lr, T beta1, T beta2, T correction, T eps) {
    ONE_OF(count)
    int which = parameter_of(t, starts, parameters), i = t - starts[which];
    T* w = (T*)places[4 * which];
    T gradient = ((const T*)places[4 * which + 1])[i];
    T* m = (T*)places[4 * which + 2];
    T* v = (T*)places[4 * which + 3];
    m[i] = beta1 * m[i] + (1 - beta1) * gradient;
    v[i] = beta2 * v[i] + (1 - beta2) * gradient * gradient;
    w[i] -= lr * m[i] / (sqrt(v[i] / correction) + eps);
}

}  // extern "C"
