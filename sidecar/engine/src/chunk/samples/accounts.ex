defmodule Shop.Accounts do
  @moduledoc """
  Users and their sessions.
  """

  import Ecto.Query
  alias Shop.Repo

  @max_attempts 3
  @type user_id :: integer()

  defstruct [:id, :name, active: true]

  @doc "Finds a user."
  @spec get_user(user_id()) :: User.t() | nil
  def get_user(id) when is_integer(id) do
    case Repo.get(User, id) do
      nil -> {:error, :not_found}
      user -> {:ok, Repo.preload(user, :sessions)}
    end
  end

  def get_user(_), do: nil

  defp hash(password, salt \\ "") do
    :crypto.hash(:sha256, password <> salt)
  end

  # Runs the block twice.
  defmacro twice(do: block) do
    quote do
      unquote(block)
      unquote(block)
    end
  end

  defguard is_admin(user) when user.role == :admin
  defdelegate count(query), to: Repo
  def left <~> right, do: {left, right}

  defmodule Session do
    defexception message: "expired"
    def expired?(session), do: session.at < now()
  end
end

defprotocol Shop.Printable do
  @doc "As text."
  def print(value)
end

defimpl Shop.Printable, for: Integer do
  def print(value), do: Integer.to_string(value)
end

defmodule Shop.AccountsTest do
  use ExUnit.Case

  test "finds a user" do
    assert Shop.Accounts.get_user(1)
  end
end
