<?php

declare(strict_types=1);

namespace App\Http;

use Psr\Log\LoggerInterface;

const DEFAULT_METHOD = 'GET';
define('APP_ROOT', __DIR__);

/**
 * Finds the handler of a request.
 */
#[Final]
abstract class Router extends Base implements RouterInterface
{
    use LogsErrors;

    public const MAX_ROUTES = 100, MIN_ROUTES = 1;
    private static ?Router $instance = null;
    protected array $routes = [];

    public function __construct(private LoggerInterface $logger)
    {
        $this->routes = [];
    }

    /** Adds a route. */
    public function add(string $method, string $path, callable $handler): static
    {
        $this->routes[$method][$path] = $handler;
        $wrap = function ($request) use ($handler) {
            return $handler($request);
        };
        return $this;
    }

    abstract protected function match(string $path): ?Route;

    public static function &instance(): self { return self::$instance; }
}

interface RouterInterface
{
    const VERSION = 2;
    public function add(string $method, string $path, callable $handler): static;
}

trait LogsErrors
{
    protected function logError(\Throwable $error): void {}
}

enum Status: string
{
    case Open = 'open';
    case Closed = 'closed';

    public function label(): string { return ucfirst($this->value); }
}

function route(string $name): string
{
    return Router::instance()->url($name);
}

$handler = new class { public function handle() {} };
?>
<html><body><?= route('home') ?></body></html>
