#include "shapes.hpp"
#include <vector>

#define SHAPES_VERSION 3

namespace geo::detail {

template <typename T>
using Ref = std::shared_ptr<T>;
typedef std::vector<double> Row;
constexpr double kPi = 3.14159;

/// Anything with an area.
class Shape : public Base {
public:
    explicit Shape(std::string name) : name_(std::move(name)) {}
    virtual ~Shape() = default;
    virtual double area() const = 0;
    bool operator==(const Shape& other) const { return name_ == other.name_; }
    static constexpr int kSides = 4;

private:
    std::string name_;
};

template <class T>
struct Box {
    T value;
    template <class U> U get() const { return static_cast<U>(value); }
    enum class Kind { Small, Large };
};

// Scales about the origin.
template <typename T>
double Circle<T>::area() const
{
    const double radius = this->radius();
    if (radius < 0) {
        throw std::domain_error("radius");
    }
    return kPi * radius * radius;
}

Shape::~Shape() {}
std::ostream& operator<<(std::ostream& out, const Shape& shape) { return out << shape.area(); }
Circle::operator bool() const { return true; }

}  // namespace geo::detail

namespace {
int counter = 0;
void helper() { counter++; }
}

extern "C" {
int shapes_init(void) { return 0; }
}

concept_t make() { return {}; }
template <typename T> concept Drawable = requires(T t) { t.draw(); };
auto geo::Grid::at(int x, int y) -> Cell* { return &cells_[y * width_ + x]; }
